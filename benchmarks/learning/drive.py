"""The runs of a plan, started where they are missing."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.learning import pipeline_clock
from benchmarks.learning.analysis import best_rates
from benchmarks.learning.base_policies import base_policy, recipe
from benchmarks.learning.pipeline_clock import PipelineRun
from benchmarks.learning.records import Job, Record, load
from benchmarks.learning.tasks import TASKS
from benchmarks.learning.variants import ABLATIONS, BREAKING, FIELD, THROUGH_PIPELINE, Variant


class RunFailed(Exception):
    """A measuring process failed, or runs that a report needs are missing."""


@dataclass(frozen=True)
class Plan:
    """A set of runs.

    Attributes:
        rates: learning rates to try with every algorithm of the field, on the first seed; None for the task's.
        seeds: number of seeds at the best learning rate.
        steps: optimizer steps of a run.
    """

    tasks: tuple[str, ...]
    field: tuple[Variant, ...]
    studies: tuple[Variant, ...]
    rates: tuple[float, ...] | None
    seeds: int
    steps: int


QUICK = ("grpo", "pg", "rapid k=4", "rapid k=16", "rapid k=32")


def full_plan(tasks: Sequence[str], seeds: int, steps: int) -> Plan:
    return Plan(tuple(tasks), FIELD, (*ABLATIONS, *BREAKING), None, seeds, steps)


def quick_plan(steps: int) -> Plan:
    """Return the plan of the main comparison on the built-in task, at one learning rate."""
    return Plan(("addition",), tuple(v for v in FIELD if v.name in QUICK), (), (1e-4,), 1, steps)


class Driver:
    """The runs of a plan, saved below `home`.

    Args:
        cores: CPU cores to bind the measuring process to; None for all.
    """

    def __init__(self, plan: Plan, home: Path, cores: Sequence[int] | None) -> None:
        self._plan, self._home, self._cores = plan, home, cores
        self._recipes = {name: recipe(TASKS[name]()) for name in plan.tasks}

    def run_all(self) -> None:
        """Run what is missing of the plan."""
        for name in self._plan.tasks:
            base_policy(TASKS[name](), self._home, partial(_report, name))
        self._run(self._sweep())
        swept = self.sweep_kept()
        self._run(self._seeds(swept))
        self._run(self._studies(swept))
        for job, iterations in self._pipelines(swept):
            if pipeline_clock.kept(job, iterations, self._home) is None:
                print(f"{job.task} / {job.variant.name}: {iterations} iterations of the pipeline", flush=True)
                pipeline_clock.measure(job, iterations, self._home, self._cores)

    def sweep_kept(self) -> list[Record]:
        """Return the first seed of every algorithm with every learning rate.

        Raises:
            RunFailed: some are missing.
        """
        return self._kept(self._sweep())

    def seeds_kept(self, swept: Iterable[Record]) -> list[Record]:
        """Return every algorithm at its best learning rate with all seeds."""
        return self._kept(self._seeds(swept))

    def studies_kept(self, swept: Iterable[Record]) -> list[Record]:
        """Return the ablations and the runs at the limits of the method."""
        return self._kept(self._studies(swept))

    def pipeline_kept(self, task: str, swept: Iterable[Record]) -> dict[str, PipelineRun]:
        """Return the runs through the pipeline by variant."""
        return {
            job.variant.name: run
            for job, iterations in self._pipelines(swept)
            if job.task == task and (run := pipeline_clock.kept(job, iterations, self._home))
        }

    def _sweep(self) -> list[Job]:
        plan = self._plan
        return [
            Job(task, variant, rate, 0, plan.steps)
            for task in plan.tasks
            for variant in self._field(task)
            for rate in plan.rates or TASKS[task]().rates
        ]

    def _seeds(self, swept: Iterable[Record]) -> list[Job]:
        # One seed after the other, so that the algorithms share the hours of the day.
        plan, best = self._plan, best_rates(swept)
        return [
            Job(task, variant, best[task, variant.name], seed, plan.steps)
            for task in plan.tasks
            for seed in range(plan.seeds)
            for variant in self._field(task)
        ]

    def _studies(self, swept: Iterable[Record]) -> list[Job]:
        """Return the studies, at the best learning rate of `rapid` with the largest k of the field."""
        plan, best = self._plan, best_rates(swept)
        model = max((v for v in plan.field if v.objective["name"] == "rapid"), key=lambda v: v.updates)
        return [
            Job(task, variant, best[task, model.name], seed, plan.steps)
            for task in plan.tasks
            for seed in range(plan.seeds)
            for variant in plan.studies
        ]

    def _pipelines(self, swept: Iterable[Record]) -> list[tuple[Job, int]]:
        plan, best = self._plan, best_rates(swept)
        return [
            (Job(task, variant, best[task, variant.name], 0, plan.steps), THROUGH_PIPELINE[variant.name])
            for task in plan.tasks
            for variant in plan.field
            if variant.name in THROUGH_PIPELINE
        ]

    def _field(self, task: str) -> list[Variant]:
        left_out = TASKS[task]().without
        return [variant for variant in self._plan.field if variant.name not in left_out]

    def _load(self, job: Job) -> Record | None:
        return load(job.path(self._home), job.digest(self._recipes[job.task]))

    def _kept(self, jobs: list[Job]) -> list[Record]:
        records = [self._load(job) for job in jobs]
        if missing := [job.name for job, record in zip(jobs, records, strict=True) if record is None]:
            raise RunFailed(f"{len(missing)} runs are missing ({missing[0]}, ...); start again without --report")
        return [record for record in records if record]

    def _run(self, jobs: list[Job]) -> None:
        for task in self._plan.tasks:
            missing = [job for job in jobs if job.task == task and self._load(job) is None]
            if missing:
                self._measure(task, missing)

    def _measure(self, task: str, jobs: list[Job]) -> None:
        asked = {"recipe": self._recipes[task], "jobs": [asdict(job) for job in jobs]}
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "jobs.json"
            file.write_text(json.dumps(asked), encoding="utf-8")
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.learning.side", str(self._home), str(file)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if not sys.stderr.isatty() else None,
                text=True,
                **pipeline_clock.bound_to(self._cores),
            )
            assert process.stdout is not None
            for line in process.stdout:
                if any(line.startswith(job.name) for job in jobs):
                    print(line, end="", flush=True)
            if process.wait():
                raise RunFailed(f"the process that measures {task} ended with status {process.returncode}")


def _report(task: str, step: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"{task}: base policy, step {step}, loss {loss:.3f}", flush=True)
