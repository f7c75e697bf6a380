"""Tokens per second and peak memory of our optimizer step as vocabulary, length, group size and model grow.

    .venv/bin/python -m benchmarks.scaling [--steps 2] [--axes vocabulary length group model]

Each point runs in its own process on its own trajectories; all sizes but the named one are those of
`benchmarks.update`. Prints a table and writes `benchmarks/results/scaling.json`.

The peak includes weights, gradients and AdamW's two moments: 16 bytes per parameter in float32, which grow with the
vocabulary's embedding whatever the step does. So the rest (activations and logits) is reported too: the peak without
those and without the memory in use before the policy was loaded.
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.training import flops, workload
from benchmarks.training.report import figures, table, write
from benchmarks.training.side import Side, SideError, matrix_rates, measure
from benchmarks.update import BFLOAT16, FLOAT32

STATE_BYTES = 16
"""Bytes of a parameter in float32: weight, gradient and two moments."""

BASE = workload.Workload()
AXES: dict[str, list[dict[str, int]]] = {
    "vocabulary": [{"vocabulary": 1024 * thousands} for thousands in (32, 64, 128)],
    "length": [{"median": 60 * factor, "longest": 256 * factor} for factor in (1, 2, 4)],
    "group": [{"group_size": size} for size in (4, 8, 16, 32)],
    "model": [
        {"layers": 6, "width": 384, "intermediate": 1024, "heads": 6, "kv_heads": 6},
        {"layers": 8, "width": 512, "intermediate": 1408, "heads": 8, "kv_heads": 8},
        {"layers": 12, "width": 768, "intermediate": 2048, "heads": 12, "kv_heads": 12},
    ],
}


def point(work: workload.Workload, side: Side, steps: int, rate: float) -> dict[str, Any]:
    """Measure one workload."""
    with tempfile.TemporaryDirectory() as scratch:
        stored = workload.store(work, Path(scratch))
        measured = measure(side, Path(scratch), steps, "cpu")
    state_gb = flops.parameters(work.shape) * STATE_BYTES / 1e9
    found = figures(measured, stored.tokens, flops.step_flops(work.shape, stored), rate)
    return {
        "parameters": flops.parameters(work.shape),
        "tokens": stored.tokens,
        **found,
        "state_gb": state_gb,
        "beyond_state_gb": found["training_gb"] - state_gb,
    }


def cells(axis: str, label: str, found: dict[str, Any], base: dict[str, Any]) -> list[str]:
    return [
        f"{axis} {label}",
        f"{found['parameters'] / 1e6:.0f} M",
        f"{found['tokens']:,}",
        f"{found['tokens_per_second']:,.0f}",
        f"{found['matrix_share']:.0%}",
        f"{found['peak_gb']:.2f}",
        f"{found['peak_gb'] / base['peak_gb'] - 1:+.0%}",
        f"{found['state_gb']:.2f}",
        f"{found['beyond_state_gb']:.2f}",
        f"{found['beyond_state_gb'] / base['beyond_state_gb'] - 1:+.0%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of each point")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), help="sizes to vary")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of matrix products")
    arguments = parser.parse_args()
    side = Side("ours", {"float32": FLOAT32, "bfloat16": BFLOAT16}[arguments.dtype], arguments.dtype)
    rate = matrix_rates("cpu")[arguments.dtype]
    points, rows = [], []
    try:
        for axis in arguments.axes:
            base: dict[str, Any] | None = None
            for changes in AXES[axis]:
                found = point(BASE.scaled(**changes), side, arguments.steps, rate)
                base = base or found
                points.append({"axis": axis, "changes": changes, **found})
                rows.append(cells(axis, " x ".join(str(size) for size in list(changes.values())[:2]), found, base))
                rate_now, peak = found["tokens_per_second"], found["peak_gb"]
                print(f"{rows[-1][0]}: {rate_now:,.0f} tokens/s, peak {peak:.2f} GB", flush=True)
    except SideError as error:
        sys.exit(f"a point failed: {error}")
    head = ["", "parameters", "tokens", "tokens/s", "of matrix rate", "peak GB", "", "state GB", "rest GB", ""]
    print(f"\n{table(head, rows)}\n")
    print("peak: resident memory of the process, and relative to the first point; state: weights, gradients, moments;")
    print("rest: activations and logits. length: median x longest; model: layers x width.")
    write(
        "scaling",
        {
            "workload": asdict(BASE),
            "settings": side.settings,
            "dtype": side.dtype,
            "matrix_rate": rate,
            "points": points,
        },
    )


if __name__ == "__main__":
    main()
