"""An iteration's metrics in Kubeflow and MLflow."""

from kfp import dsl

from components.contract.manifest import Manifest
from components.results import evaluation_values, iteration_values, read_iteration
from components.runtime.progress import emit
from components.store import open_run
from components.tracking import sync


def log_iteration(run_uri: str, iteration: int, manifest: Manifest, metrics: dsl.Metrics) -> int:
    """Show and track a trained iteration; return how many remain, 0 once the target is reached."""
    run = open_run(run_uri)
    result = read_iteration(run, iteration)
    assert result is not None
    values = {**manifest.numbers, **iteration_values(result), **evaluation_values(result.sampled)}
    for key, value in values.items():
        metrics.log_metric(key, value)
    sync(run)
    emit("iteration", number=iteration)
    if manifest.facts["outcome"] == "target_reached":
        return 0
    return run.config.loop.iterations - iteration
