"""The runs of the two comparisons, started where they are missing."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.learning.analysis import best_rates
from benchmarks.learning.base_policies import make_base_policy, task_folder
from benchmarks.learning.jobs import Job, JobFiles, RunFailed, configuration
from benchmarks.learning.records import Record, record
from benchmarks.learning.summary import by_variant, task_summary
from benchmarks.learning.tasks import TASKS, Task
from benchmarks.learning.variants import ABLATIONS, BREAKING, FIELD, MAIN
from components.results import read_run


class Runs:
    """The runs below `home`.

    Args:
        cores: CPU cores to run on; None for all.
        start: whether to start what is missing.
    """

    def __init__(self, home: Path, cores: Sequence[int] | None, start: bool) -> None:
        self._home, self._cores, self._start = home.absolute(), cores, start
        self._tasks: dict[str, tuple[Task, Path]] = {}
        self._read: dict[str, Record] = {}

    def records(self, jobs: Iterable[Job]) -> list[Record]:
        """Return the records of jobs, running first what is missing or was stopped.

        Raises:
            RunFailed: a run failed, or is not finished and must not be started.
        """
        return [self._record(job) for job in jobs]

    def _record(self, job: Job) -> Record:
        if job.label in self._read:
            return self._read[job.label]
        task, folder = self._task(job.task)
        files, config = JobFiles(job, folder), configuration(job, task, folder)
        run = files.open(config)
        if not run.published():
            if not self._start:
                raise RunFailed(f"{job.label} is not finished; start again without --report")
            make_base_policy(task, folder, partial(_report, job.task))
            print(f"{job.label}: {job.iterations} iterations, {files.log}", flush=True)
            files.run(config, self._cores)
        made = self._read[job.label] = record(job, read_run(run), files.starts)
        print(f"{job.label}: {_outline(made)}", flush=True)
        return made

    def _task(self, name: str) -> tuple[Task, Path]:
        if name not in self._tasks:
            task = TASKS[name]()
            self._tasks[name] = task, task_folder(task, self._home)
        return self._tasks[name]


def main_comparison(runs: Runs, kept: Path, tasks: Sequence[str], seeds: int, steps: int) -> dict[str, Any]:
    """Return the figures of GRPO and RAPID by task.

    Args:
        kept: results of a full comparison, for the learning rates.
    """
    rates = {
        (task, name): figures["learning_rate"]
        for task, summary in json.loads(kept.read_text(encoding="utf-8"))["tasks"].items()
        for name, figures in summary["field"].items()
    }
    summaries = {}
    for task in tasks:
        records = runs.records(
            Job(task, variant, rates[task, variant.name], seed, steps) for seed in range(seeds) for variant in MAIN
        )
        summaries[task] = _summary(task, [], records, [])
    return summaries


def full_comparison(runs: Runs, tasks: Sequence[str], seeds: int, steps: int) -> dict[str, Any]:
    """Return the figures of all algorithms, each at its best learning rate, of ablations and limits, by task."""
    summaries = {}
    for task in tasks:
        field = [variant for variant in FIELD if variant.name not in TASKS[task]().without]
        swept = runs.records(Job(task, v, rate, 0, steps) for v in field for rate in TASKS[task]().rates)
        best = best_rates(swept)
        # One seed after the other, so that the algorithms share the hours of the day.
        records = runs.records(Job(task, v, best[task, v.name], seed, steps) for seed in range(seeds) for v in field)
        # At the best learning rate of `rapid` with the largest k of the field.
        model = max((v for v in field if v.objective["name"] == "rapid"), key=lambda v: v.updates)
        studies = runs.records(
            Job(task, v, best[task, model.name], seed, steps) for seed in range(seeds) for v in (*ABLATIONS, *BREAKING)
        )
        summaries[task] = _summary(task, swept, records, studies)
    return summaries


def _summary(task: str, swept: list[Record], field: list[Record], studies: list[Record]) -> dict[str, Any]:
    return {
        "description": TASKS[task]().description,
        **task_summary(swept, by_variant(field), by_variant(studies)),
    }


def _outline(made: Record) -> str:
    first, last = made.points[0], made.points[-1]
    return (
        f"pass@1 {first.pass_at_1:.3f} to {last.pass_at_1:.3f}, {last.seconds['sampling']:.1f} s sampling, "
        f"{last.seconds['updating']:.1f} s updating, {last.seconds['wall']:.0f} s in all"
    )


def _report(task: str, step: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"{task}: base policy, step {step}, loss {loss:.3f}", flush=True)
