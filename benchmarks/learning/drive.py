"""Which runs are needed, and having them run."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.learning.analysis import best_rates
from benchmarks.learning.records import Job, Record, load
from benchmarks.learning.tasks import TASKS
from benchmarks.learning.variants import ABLATIONS, BREAKING, FIELD, Variant
from benchmarks.learning.warm_start import base_policy, recipe


class RunFailed(Exception):
    """A measuring process ended without its runs; what it wrote stands above."""


@dataclass(frozen=True)
class Plan:
    """Attributes:
    rates: learning rates that every algorithm of the field is tried with, on the first seed.
    seeds: at the best of them.
    steps: optimiser steps of a run.
    """

    tasks: tuple[str, ...]
    field: tuple[Variant, ...]
    studies: tuple[Variant, ...]
    rates: tuple[float, ...]
    seeds: int
    steps: int


def full_plan(tasks: Sequence[str], rates: Sequence[float], seeds: int, steps: int) -> Plan:
    return Plan(tuple(tasks), FIELD, (*ABLATIONS, *BREAKING), tuple(rates), seeds, steps)


QUICK = ("grpo", "pg", "rapid k=4", "rapid k=16", "rapid k=32")


def quick_plan(steps: int) -> Plan:
    """The main comparison on the built-in task, at the learning rate that is best for most."""
    return Plan(("addition",), tuple(v for v in FIELD if v.name in QUICK), (), (2e-4,), 1, steps)


class Driver:
    """Runs of a plan, kept below `home`.

    Args:
        cores: processor cores that the measuring process is bound to; None leaves it where it is.
    """

    def __init__(self, plan: Plan, home: Path, cores: Sequence[int] | None) -> None:
        self._plan, self._home, self._cores = plan, home, cores
        self._recipes = {name: recipe(TASKS[name]()) for name in plan.tasks}

    def base_policies(self) -> None:
        for name in self._plan.tasks:
            base_policy(TASKS[name](), self._home, lambda step, loss: print(f"{name}: step {step}, loss {loss:.3f}"))

    def sweep(self) -> list[Record]:
        """The first seed of every algorithm with every learning rate."""
        plan = self._plan
        return self._have(
            Job(task, variant, rate, 0, plan.steps)
            for task in plan.tasks
            for variant in plan.field
            for rate in plan.rates
        )

    def seeds(self, swept: Iterable[Record]) -> list[Record]:
        """Every algorithm at its best learning rate with all seeds."""
        plan, best = self._plan, best_rates(swept)
        return self._have(
            Job(task, variant, best[task, variant.name], seed, plan.steps)
            for task in plan.tasks
            for seed in range(plan.seeds)
            for variant in plan.field
        )

    def studies(self, swept: Iterable[Record]) -> list[Record]:
        """Ablations and what breaks, at the learning rate that suits `rapid` with the largest k of the field."""
        plan, best = self._plan, best_rates(swept)
        model = max((v for v in plan.field if v.objective["name"] == "rapid"), key=lambda v: v.updates)
        return self._have(
            Job(task, variant, best[task, model.name], seed, plan.steps)
            for task in plan.tasks
            for seed in range(plan.seeds)
            for variant in plan.studies
        )

    def kept(self, jobs: Iterable[Job]) -> list[Record]:
        """Those of the jobs that have been run."""
        found = (load(job.path(self._home), job.digest(self._recipes[job.task])) for job in jobs)
        return [record for record in found if record]

    def _have(self, jobs: Iterable[Job]) -> list[Record]:
        wanted = list(jobs)
        done = {record.job.name for record in self.kept(wanted)}
        for task in self._plan.tasks:
            missing = [job for job in wanted if job.task == task and job.name not in done]
            if missing:
                self._run(task, missing)
        records = self.kept(wanted)
        assert len(records) == len(wanted)
        return records

    def _run(self, task: str, jobs: list[Job]) -> None:
        asked = {"recipe": self._recipes[task], "jobs": [asdict(job) for job in jobs]}
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "jobs.json"
            file.write_text(json.dumps(asked), encoding="utf-8")
            command = [sys.executable, "-m", "benchmarks.learning.side", str(self._home), str(file)]
            bound = {"OMP_NUM_THREADS": str(len(self._cores))} if self._cores else {}
            cores = self._cores
            process = subprocess.Popen(
                command,
                env={**os.environ, **bound},
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
            )
            assert process.stdout is not None
            for line in process.stdout:
                if any(line.startswith(job.name) for job in jobs):
                    print(line, end="", flush=True)
            if process.wait():
                raise RunFailed(f"the process that measures {task} ended with status {process.returncode}")
