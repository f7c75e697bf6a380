"""Figures of a side, and their tables."""

import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "largest": max(values)}


def figures(measured: dict[str, Any], tokens: int, step_flops: float, rate: float) -> dict[str, float]:
    """Return the figures of one run of a side.

    Args:
        measured: as `ours.measure` returns it.
        tokens: prompt and completion tokens of a step.
        step_flops, rate: FLOPs of a step, and FLOP/s of the machine in the side's dtype.

    Returns:
        tokens_per_second and matrix_share of the median step; peak memory of the process, and the part of it that
        policy and training added, in GB (1e9 bytes).
    """
    seconds = statistics.median(measured["seconds"])
    return {
        "tokens_per_second": tokens / seconds,
        "matrix_share": step_flops / seconds / rate,
        "peak_gb": measured["memory_peak"] / 1e9,
        "training_gb": (measured["memory_peak"] - measured["memory_before"]) / 1e9,
    }


def table(head: list[str], rows: list[list[str]]) -> str:
    """Format a table whose first column is aligned to the left and the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    )


def write(name: str, summary: dict[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return path
