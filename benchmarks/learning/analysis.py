"""Figures of runs: time to accuracy, accuracy at equal cost, importance weights over an iteration."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.learning.records import Point, Record

TARGETS = (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)

Cost = Callable[[Point], float]
"""The cost of a policy: seconds, optimizer steps or completions until it existed."""


def compute_seconds(point: Point) -> float:
    """Return the seconds of sampling and updating."""
    return point.seconds["sampling"] + point.seconds["updating"]


def wall_seconds(point: Point) -> float:
    """Return the seconds since `rapid run` was started."""
    return point.seconds["wall"]


def steps(point: Point) -> float:
    return point.step


def completions(point: Point) -> float:
    return point.completions


CLOCKS: dict[str, Cost] = {"wall": wall_seconds, "compute": compute_seconds}
"""The clocks of a policy, that of the whole run first."""


def reached(record: Record, target: float, cost: Cost) -> float | None:
    """Return the cost of the first evaluated policy whose pass@1 is at least `target`, else None."""
    return next((cost(point) for point in record.points if point.pass_at_1 >= target), None)


def at_cost(record: Record, limit: float, cost: Cost) -> Point:
    """Return the last evaluated policy that cost at most `limit`."""
    return [point for point in record.points if cost(point) <= limit][-1]


def area(record: Record) -> float:
    """Return the mean pass@1 over optimizer steps, linear between evaluations: one number for speed and accuracy."""
    points = record.points
    if not points[-1].step:
        return points[0].pass_at_1
    pieces = [
        (after.step - before.step) * (before.pass_at_1 + after.pass_at_1) / 2 for before, after in pairwise(points)
    ]
    return sum(pieces) / points[-1].step


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
        """Summarise values of seeds; seeds without a value count as later than all others."""
        there = sorted(value for value in values if value is not None)
        missing = len(values) - len(there)
        ordered: list[float | None] = [*there, *[None] * missing]
        lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        median = None if lower is None or upper is None else (lower + upper) / 2
        return cls(median, there[0] if there else None, there[-1] if there else None, len(values), missing)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation, which is 0 for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def over_an_iteration(record: Record, figure: str) -> list[float]:
    """Return a figure of the 1st, 2nd, ... mini-batch, mean over the run's iterations that have one."""
    values = iter(record.figures[figure])
    iterations = [[next(values) for _ in range(updates)] for updates in record.updates]
    longest = max(map(len, iterations), default=0)
    return [statistics.fmean(i[place] for i in iterations if len(i) > place) for place in range(longest)]
