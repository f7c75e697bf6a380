"""One task of the pipeline: a stage's command in a child process, which is started again when it crashes."""

import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from components.contract.section import StageName
from components.runtime.parent import Limits, run_stage_child
from components.runtime.processes import Child
from components.store import OutputDirectory


class Metrics(Protocol):
    """The part of `kfp.dsl.Metrics` that tasks use."""

    def log_metric(self, metric: str, value: float) -> None: ...


def run_task(stage: StageName, run_uri: str, options: Sequence[str], limits: Limits) -> None:
    """Run `python -m components.<stage> RUN OPTIONS` to its end; why it fails for good is left in the run.

    Raises:
        SystemExit: as `run_children` does.
    """
    words = [sys.executable, "-m", f"components.{stage}", run_uri, *options]
    run_stage_child(run_uri, stage, Child(stage, words), limits)


def show_numbers(numbers: Mapping[str, float], metrics: Metrics) -> None:
    """Show numbers as the metrics of a task in Kubeflow."""
    for key, value in numbers.items():
        metrics.log_metric(key, value)


def show_output(output: OutputDirectory, metrics: Metrics) -> str:
    """Show the numbers of a committed output; return its URI, the task's answer."""
    show_numbers(output.require().numbers, metrics)
    return output.uri
