"""The course of a finished run, read from its store."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks.learning.jobs import Job
from components.results import IterationResult, RunResults

STEP_FIGURES = (
    "effective_sample_share",
    "log_ratio_p50",
    "log_ratio_p95",
    "log_ratio_max",
    "clip_fraction",
    "kl",
)


@dataclass(frozen=True)
class Point:
    """A policy that was evaluated, and its cost.

    Attributes:
        step: optimizer steps that were taken until it existed.
        completions: training completions until then.
        seconds: until it existed: `sampling` training completions, `updating`, `grading`, and `wall`, all that passed.
    """

    step: int
    iteration: int
    completions: int
    pass_at_1: float
    pass_at_8: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Record:
    """A finished run.

    Attributes:
        points: the evaluated policies; the first is the base policy.
        figures: values per optimizer step, by name.
        updates: number of optimizer steps of every iteration.
        ended_early: iterations that a guard ended early, with the reason.
    """

    job: Job
    points: list[Point]
    figures: dict[str, list[float]]
    updates: list[int]
    ended_early: list[str]


class KeptRecords:
    """Records of finished runs in a file of JSON lines, which outlives the runs: another sitting goes on from it.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._found: dict[str, dict[str, Any]] = {row["key"]: row for row in map(json.loads, lines)}

    def get(self, key: str, job: Job) -> Record | None:
        """Return the record of a job, whose `key` holds all that it depends on."""
        row = self._found.get(key)
        if row is None:
            return None
        return Record(
            job, [Point(**point) for point in row["points"]], row["figures"], row["updates"], row["ended_early"]
        )

    def add(self, key: str, made: Record) -> None:
        row = {"key": key, **{name: value for name, value in asdict(made).items() if name != "job"}}
        row["figures"] = {name: [round(value, 5) for value in values] for name, values in made.figures.items()}
        self._found[key] = row
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


def record(job: Job, results: RunResults, starts: Sequence[datetime]) -> Record:
    """Return the record of a run.

    Args:
        starts: when `rapid run` was started.
    """
    trained = [(i.number, i.train) for i in results.iterations if i.train]
    steps = [step for _, train in trained for step in train.steps]
    return Record(
        job=job,
        points=_points(results, starts),
        figures={name: [getattr(step, name) for step in steps] for name in STEP_FIGURES},
        updates=[len(train.steps) for _, train in trained],
        ended_early=[f"iteration {number}: {train.ended_early}" for number, train in trained if train.ended_early],
    )


def _points(results: RunResults, starts: Sequence[datetime]) -> list[Point]:
    rounds = [i.finished for i in results.iterations if i.finished] + [r.finished for r in results.rounds]
    commits = sorted([results.prepared, *rounds])
    existed = {0: results.prepared, **{i.number: i.finished for i in results.iterations if i.finished}}
    return [
        Point(
            step=sum(len(i.train.steps) for i in results.iterations[:version] if i.train),
            iteration=version,
            completions=sum(i.sampled.training_completions for i in results.iterations[:version]),
            pass_at_1=evaluated.pass_at_k[1],
            pass_at_8=evaluated.pass_at_k[8],
            seconds={
                **_computing(results.iterations[:version]),
                "wall": seconds_worked(existed[version], starts, commits),
            },
        )
        for version, evaluated in results.evaluated.items()
    ]


def _computing(iterations: Sequence[IterationResult]) -> dict[str, float]:
    times = [(i.time, _training_share(i)) for i in iterations if i.time]
    return {
        "sampling": sum(time.rollout.compute * share for time, share in times),
        "updating": sum(time.train.compute for time, _ in times),
        "grading": sum(time.reward.compute * share for time, share in times),
    }


def _training_share(iteration: IterationResult) -> float:
    """Return the training prompts' share of the tokens that an iteration sampled.

    Held-out prompts are sampled in between, in the same calls of the engine; their seconds belong to no algorithm.
    """
    held_out = iteration.sampled.eval
    return 1.0 - (held_out.length * held_out.completions / iteration.sampled.tokens if held_out else 0.0)


def seconds_worked(moment: datetime, starts: Sequence[datetime], commits: Sequence[datetime]) -> float:
    """Return the seconds until a commit in which `rapid run` was running, starting up included.

    A run that was stopped counts up to its last commit, and again from when it was started anew.
    """
    total = 0.0
    for start, following in zip_longest(starts, starts[1:]):
        until = [c for c in commits if start <= c <= moment and (following is None or c < following)]
        if until:
            total += (max(until) - start).total_seconds()
    return total
