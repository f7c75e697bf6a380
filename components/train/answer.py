"""What the train stage answers to the pipeline."""

from kfp import dsl

from components.contract.manifest import Manifest
from components.runtime.progress import emit
from components.store import open_run
from components.tracking import sync


def answer(run_uri: str, iteration: int, manifest: Manifest, metrics: dsl.Metrics) -> int:
    """Show and track what the iteration has come to; returns how many remain, 0 once the target is reached."""
    for key, value in manifest.facts.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            metrics.log_metric(key, float(value))
    current = open_run(run_uri)
    sync(current)
    emit("iteration", number=iteration)
    if manifest.facts["outcome"] == "target_reached":
        return 0
    return current.config.loop.iterations - iteration
