"""One task of the pipeline: a stage's command in a child process, which is started again when it crashes."""

import sys
from collections.abc import Mapping
from typing import Protocol

from components.contract.layout import Round
from components.contract.section import StageName
from components.runtime.parent import Limits
from components.runtime.processes import Child
from components.runtime.stage_process import run_stage_child
from components.store import OutputDirectory
from components.store.attempt_logs import LogPlace


class Metrics(Protocol):
    """The part of `kfp.dsl.Metrics` that tasks use."""

    def log_metric(self, metric: str, value: float) -> None: ...


def run_task(
    stage: StageName,
    run_uri: str,
    limits: Limits,
    round_: Round | None = None,
    shard: int | None = None,
) -> None:
    """Run `python -m components.<stage> RUN` to its end; its log, and why it fails for good, are left in the run.

    Args:
        round_: what it works on, None for publish.
        shard: None where the stage has no shards.

    Raises:
        SystemExit: as `run_children` does.
    """
    options: list[str] = []
    if round_:
        options = ["--iteration", str(round_.number)] if stage == "train" else ["--round", str(round_)]
    if shard is not None:
        options += ["--shard", str(shard)]
    words = [sys.executable, "-m", f"components.{stage}", run_uri, *options]
    run_stage_child(run_uri, stage, Child(stage, words, log=LogPlace(run_uri, stage, shard, round_)), limits)


def show_numbers(numbers: Mapping[str, float], metrics: Metrics) -> None:
    """Show numbers as the metrics of a task in Kubeflow."""
    for key, value in numbers.items():
        metrics.log_metric(key, value)


def show_output(output: OutputDirectory, metrics: Metrics) -> str:
    """Show the numbers of a committed output; return its URI, the task's answer."""
    show_numbers(output.require().numbers, metrics)
    return output.uri
