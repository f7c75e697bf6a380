"""The runs of a comparison, started where they are missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.learning.analysis import area
from benchmarks.learning.base_policies import make_base_policy, task_folder
from benchmarks.learning.jobs import Job, JobFiles, RunFailed, configuration
from benchmarks.learning.records import Record, record
from benchmarks.learning.summary import by_variant, task_summary, variant_figures
from benchmarks.learning.tasks import TASKS, Task
from benchmarks.learning.variants import ABLATIONS, BREAKING, FIELD, MOST_USED, Variant
from components.results import read_run


@dataclass(frozen=True)
class Size:
    """The number of seeds, and of optimizer steps of each run."""

    seeds: int
    steps: int


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
        """Return the records of jobs, running first what is missing or was stopped, or else without these.

        Raises:
            RunFailed: a run failed, or none is finished and none must be started.
        """
        made = [record for job in jobs if (record := self._record(job))]
        if not made:
            raise RunFailed("no run is finished; start some without --report")
        return made

    def _record(self, job: Job) -> Record | None:
        if job.label in self._read:
            return self._read[job.label]
        task, folder = self._task(job.task)
        files, config = JobFiles(job, folder), configuration(job, task, folder)
        run = files.open(config)
        if not run.published():
            if not self._start:
                return None
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


Sweep = dict[str, dict[str, dict[str, float]]]
"""Mean pass@1 over the run of the first seed, by task, variant and learning rate."""


def compare(runs: Runs, sweep: Sweep, tasks: Sequence[str], variants: Sequence[Variant], size: Size) -> dict[str, Any]:
    """Return the figures of variants by task, each at its best learning rate."""
    summaries = {}
    for task in tasks:
        # One seed after the other, so that the variants share the hours of the day.
        records = runs.records(
            Job(task, variant, best_rate(sweep[task], variant), seed, size.steps)
            for seed in range(size.seeds)
            for variant in variants
        )
        summaries[task] = {"description": TASKS[task]().description, **task_summary(by_variant(records))}
    return summaries


def ablate(runs: Runs, sweep: Sweep, tasks: Sequence[str], size: Size) -> dict[str, Any]:
    """Return the figures of ablations and limits by task, at the best learning rate of `rapid` with the largest k."""
    model = max((v for v in FIELD if v.objective["name"] == "rapid" and not v.settings), key=lambda v: v.updates)
    return {
        task: variant_figures(
            by_variant(
                runs.records(
                    Job(task, variant, best_rate(sweep[task], model), seed, size.steps)
                    for seed in range(size.seeds)
                    for variant in (*ABLATIONS, *BREAKING)
                )
            )
        )
        for task in tasks
    }


def search_rates(runs: Runs, tasks: Sequence[str], variants: Sequence[Variant], size: Size) -> Sweep:
    """Return what every learning rate of a task gives with every variant."""
    found: Sweep = {}
    for task in tasks:
        found[task] = {}
        for variant in variants:
            records = runs.records(Job(task, variant, rate, 0, size.steps) for rate in TASKS[task]().rates)
            found[task][variant.name] = {f"{r.job.learning_rate:g}": round(area(r), 4) for r in records}
    return found


def best_rate(swept: Mapping[str, Mapping[str, float]], variant: Variant) -> float:
    """Return the learning rate with the largest mean pass@1: the variant's own or, if none was searched, its kin's."""
    found = swept.get(variant.name) or swept[MOST_USED[variant.updates == 1]]
    return float(max(found, key=lambda rate: found[rate]))


def _outline(made: Record) -> str:
    first, last = made.points[0], made.points[-1]
    return (
        f"pass@1 {first.pass_at_1:.3f} to {last.pass_at_1:.3f}, {last.seconds['sampling']:.1f} s sampling, "
        f"{last.seconds['updating']:.1f} s updating, {last.seconds['wall']:.0f} s in all"
    )


def _report(task: str, step: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"{task}: base policy, step {step}, loss {loss:.3f}", flush=True)
