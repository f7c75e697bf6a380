"""The runs of a comparison, started where they are missing."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.learning.analysis import area
from benchmarks.learning.base_policies import make_base_policy, task_folder
from benchmarks.learning.jobs import Job, JobFiles, RunFailed, configuration
from benchmarks.learning.records import KeptRecords, Record, record
from benchmarks.learning.summary import by_variant, task_summary, variant_figures
from benchmarks.learning.tasks import TASKS, Task
from benchmarks.learning.variants import ABLATIONS, BREAKING, FIELD, REFERENCE, REUSING, Variant
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
        kept: file of the records of finished runs, whose stores may be gone.
    """

    def __init__(self, home: Path, cores: Sequence[int] | None, kept: Path) -> None:
        self._home, self._cores, self._kept = home.absolute(), cores, KeptRecords(kept)
        self._tasks: dict[str, tuple[Task, Path]] = {}
        self._read: dict[str, Record] = {}

    def finish(self, jobs: Iterable[Job]) -> list[Record]:
        """Return the records of jobs, running first what is missing or was stopped.

        Raises:
            RunFailed: a run failed.
        """
        return [self._record(job, start=True) for job in jobs]

    def finished(self, jobs: Iterable[Job]) -> list[Record]:
        """Return the records of those jobs that are finished."""
        return [self._record(job, start=False) for job in jobs if self._is_finished(job)]

    def _is_finished(self, job: Job) -> bool:
        task, folder = self._task(job.task)
        kept = self._kept.get(self._key(job), job)
        return kept is not None or JobFiles(job, folder).open(configuration(job, task, folder)).published()

    def _key(self, job: Job) -> str:
        """Return the recipe of the base policy and prompts, and the name of the run, and its length."""
        _, folder = self._task(job.task)
        return f"{job.task}/{folder.name}/{job.run_name}/{job.iterations}"

    def _record(self, job: Job, start: bool) -> Record:
        if kept := self._read.get(job.label) or self._kept.get(self._key(job), job):
            return kept
        task, folder = self._task(job.task)
        files, config = JobFiles(job, folder), configuration(job, task, folder)
        run = files.open(config)
        if start and not run.published():
            make_base_policy(task, folder, partial(_report, job.task))
            print(f"{job.label}: {job.iterations} iterations, {files.log}", flush=True)
            files.run(config, self._cores)
        made = self._read[job.label] = record(job, read_run(run), files.starts)
        self._kept.add(self._key(job), made)
        print(f"{job.label}: {_outline(made)}", flush=True)
        return made

    def _task(self, name: str) -> tuple[Task, Path]:
        if name not in self._tasks:
            task = TASKS[name]()
            self._tasks[name] = task, task_folder(task, self._home)
        return self._tasks[name]


Sweep = dict[str, dict[str, dict[str, float]]]
"""Mean pass@1 over the run of the first seed, by task, variant and learning rate."""


Read = Callable[[Iterable[Job]], list[Record]]
"""`Runs.finish` or `Runs.finished`."""


def compared(sweep: Sweep, tasks: Iterable[str], variants: Sequence[Variant], size: Size) -> Iterator[Job]:
    """Yield the runs of variants, each at its best learning rate.

    One seed comes after the other, so that the variants share the hours of the day.
    """
    for task in tasks:
        for seed in range(size.seeds):
            for variant in variants:
                yield Job(task, variant, best_rate(sweep[task], variant), seed, size.steps)


def summarise(records: Iterable[Record]) -> dict[str, Any]:
    """Return the figures of variants by task.

    Raises:
        RunFailed: nothing is finished, or on some task not the reference.
    """
    by_task: dict[str, list[Record]] = defaultdict(list)
    for made in records:
        by_task[made.job.task].append(made)
    without = [task for task, made in by_task.items() if REFERENCE not in by_variant(made)]
    if not by_task or without:
        raise RunFailed(f"no run of {REFERENCE} is finished on {', '.join(without) or 'any task'}; start one")
    return {
        task: {"description": TASKS[task]().description, **task_summary(by_variant(made))}
        for task, made in by_task.items()
    }


def ablate(read: Read, sweep: Sweep, tasks: Sequence[str], size: Size) -> dict[str, Any]:
    """Return the figures of ablations and limits by task, at the best learning rate of `rapid` with the largest k."""
    model = max((v for v in FIELD if v.objective["name"] == "rapid" and not v.settings), key=lambda v: v.updates)
    return {
        task: variant_figures(
            by_variant(
                read(
                    Job(task, variant, best_rate(sweep[task], model), seed, size.steps)
                    for seed in range(size.seeds)
                    for variant in (*ABLATIONS, *BREAKING)
                )
            )
        )
        for task in tasks
    }


def search_rates(read: Read, tasks: Sequence[str], variants: Sequence[Variant], size: Size) -> Sweep:
    """Return the accuracy that every learning rate of a task gives with every variant."""
    return {
        task: {
            variant.name: {
                f"{made.job.learning_rate:g}": round(area(made), 4)
                for made in read(Job(task, variant, rate, 0, size.steps) for rate in TASKS[task]().rates)
            }
            for variant in variants
        }
        for task in tasks
    }


def best_rate(swept: Mapping[str, Mapping[str, float]], variant: Variant) -> float:
    """Return the learning rate with the largest mean pass@1 over the run.

    Where none was searched for the variant, it is that of on-policy GRPO or of RAPID.
    """
    found = swept.get(variant.name) or swept[REFERENCE if variant.updates == 1 else REUSING]
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
