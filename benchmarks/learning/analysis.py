"""From runs to what is compared: time to accuracy, accuracy at equal cost, and what a pass does to the weights."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.learning.records import Record
from benchmarks.learning.resident import Point

TARGETS = (0.7, 0.75, 0.8, 0.85, 0.9)

Cost = Callable[[Point], float]
"""What a policy has cost until it was there: seconds, steps or completions."""


def compute_seconds(point: Point) -> float:
    """Sampling and updating."""
    return point.seconds["sampling"] + point.seconds["updating"]


def resident_seconds(point: Point) -> float:
    """Everything but evaluations, in a process that is never left."""
    return sum(point.seconds.values())


def steps(point: Point) -> float:
    return point.step


def completions(point: Point) -> float:
    return point.completions


@dataclass(frozen=True)
class PipelineClock:
    """Seconds of the pipeline beyond computing, measured on runs of `rapid run`.

    Attributes:
        once: before the first iteration.
        per_iteration: process starts, imports, loading, copies, tracking.
    """

    once: float
    per_iteration: float

    def seconds(self, point: Point) -> float:
        return self.once + self.per_iteration * point.iteration + compute_seconds(point)


def reached(record: Record, target: float, cost: Cost) -> float | None:
    """Cost of the first evaluated policy whose pass@1 is at least `target`; None where none is."""
    return next((cost(point) for point in record.points if point.pass_at_1 >= target), None)


def at_cost(record: Record, limit: float, cost: Cost) -> Point:
    """The last evaluated policy that cost no more than `limit`."""
    return [point for point in record.points if cost(point) <= limit][-1]


def area(record: Record) -> float:
    """Mean pass@1 over optimizer steps, between evaluations a straight line: one number for fast and good."""
    points = record.points
    pieces = [
        (after.step - before.step) * (before.pass_at_1 + after.pass_at_1) / 2 for before, after in pairwise(points)
    ]
    return sum(pieces) / points[-1].step


def best_rates(records: Iterable[Record]) -> dict[tuple[str, str], float]:
    """(task, variant) -> the learning rate whose first seed has the largest area."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for record in records:
        job = record.job
        if job.seed == 0:
            found[job.task, job.variant.name].append((area(record), job.learning_rate))
    return {key: max(choices)[1] for key, choices in found.items()}


@dataclass(frozen=True)
class Spread:
    """Median and extremes over seeds; `missing` of `count` seeds have no value."""

    median: float | None
    least: float | None
    largest: float | None
    count: int
    missing: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread":
        """Seeds that never got there count as later than all that did."""
        there = sorted(value for value in values if value is not None)
        missing = len(values) - len(there)
        ordered: list[float | None] = [*there, *[None] * missing]
        lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        median = None if lower is None or upper is None else (lower + upper) / 2
        return cls(median, there[0] if there else None, there[-1] if there else None, len(values), missing)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; 0 for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def over_a_pass(record: Record, figure: str) -> list[float]:
    """A figure of the 1st, 2nd, ... mini-batch of a pass, mean over the run's passes that got there."""
    values = iter(record.figures[figure])
    passes = [[next(values) for _ in range(length)] for length in record.passes]
    longest = max(map(len, passes))
    return [statistics.fmean(p[place] for p in passes if len(p) > place) for place in range(longest)]
