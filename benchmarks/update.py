"""Our optimizer step against TRL's GRPOTrainer on the same stored trajectories, side by side.

    .venv/bin/python -m benchmarks.update [--workload 48x60] [--repeats 3] [--steps 2] [--only trl ours]

The sides take turns `repeats` times, each in its own process: one warm-up step, then `steps` timed ones, all on the
same sequences of a 23-million-parameter policy. A workload is named after the tokens of its prompts and, about, of its
completions, of which a prompt has 8. TRL has its own environment (`make bench-setup`).
Prints a table and writes `benchmarks/results/update.json`, with another workload than the first `update-NAME.json`.
"""

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.training import flops, peer, workload
from benchmarks.training.report import figures, spread, table, write
from benchmarks.training.side import PEER_PYTHON, Side, SideError, matrix_rates, measure

FLOAT32 = {"objective": "grpo", "micro_batch_tokens": 2048}
"""The settings that a sweep chose (`benchmarks/LOG.md`)."""

BFLOAT16 = {**FLOAT32, "compute_dtype": "bfloat16"}

SIDES = {
    "trl": Side("peer"),
    "trl, its defaults": Side("peer", {"gradient_checkpointing": True}),
    "trl, k = 2": Side("peer", {"steps_per_generation": 2 * peer.SETTINGS["gradient_accumulation_steps"]}),
    "trl bf16": Side("peer", {"bf16": True}, "bfloat16"),
    "ours": Side("ours", FLOAT32),
    "ours bf16": Side("ours", BFLOAT16, "bfloat16"),
    "ours rapid": Side("ours", {**FLOAT32, "objective": "rapid"}),
    "ours guide": Side("ours", {**FLOAT32, "guide": 0.04}),
    "ours rapid bf16": Side("ours", {**BFLOAT16, "objective": "rapid"}, "bfloat16"),
}
SAME_STEP = ("trl", "trl, its defaults", "trl bf16", "ours", "ours bf16")
"""The sides whose first step has the same objective on the same sequences."""

NOTES = """\
trl: GRPOTrainer in its fastest correct settings: no gradient checkpointing, and no forward pass for behaviour
log-probabilities, which TRL skips with one update per batch of rollouts. trl, its defaults: gradient checkpointing.
trl, k = 2: two updates per batch of rollouts, for which TRL does that forward pass.
ours: the same grpo loss with the behaviour log-probabilities that the rollout engine stored.
ours rapid: weights and an importance-weighted baseline, from the same forward pass.
ours guide: with the KL to the base policy, whose log-probabilities are computed once for all updates on a batch."""


def compare(
    directory: Path, work: workload.Workload, names: list[str], repeats: int, steps: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the figures of every repeat by side, and the raw measurements of the first repeat."""
    stored = workload.read(directory)
    operations = flops.step_flops(work.shape, stored)
    repeated, first = [], {}
    for number in range(1, repeats + 1):
        rates = matrix_rates("cpu")
        measured: dict[str, Any] = {"matrix_rates": rates}
        for name in names:
            result = measure(SIDES[name], directory, steps, "cpu")
            first.setdefault(name, result)
            measured[name] = figures(result, stored.tokens, operations, rates[SIDES[name].dtype])
            print(f"{number}: {name}: {measured[name]['tokens_per_second']:,.0f} tokens/s", flush=True)
        repeated.append(measured)
    return repeated, first


def rows(repeated: list[dict[str, Any]], names: list[str]) -> list[list[str]]:
    cells = []
    for name in names:
        rate = spread([measured[name]["tokens_per_second"] for measured in repeated])
        row = [name, f"{rate['median']:,.0f}", f"{rate['least']:,.0f} to {rate['largest']:,.0f}"]
        for key, form in (("matrix_share", "{:.0%}"), ("peak_gb", "{:.2f}"), ("training_gb", "{:.2f}")):
            row.append(form.format(statistics.median(measured[name][key] for measured in repeated)))
        for key in ("tokens_per_second", "peak_gb", "training_gb"):
            row.append(f"{ratio(repeated, name, key)['median']:.2f}" if "trl" in names else "")
        cells.append(row)
    return cells


def ratio(repeated: list[dict[str, Any]], name: str, key: str) -> dict[str, float]:
    """Return the spread of a side's figure relative to TRL's of the same repeat."""
    return spread([measured[name][key] / measured["trl"][key] for measured in repeated])


def agreement(first: dict[str, Any]) -> str:
    """Describe loss and gradient norm of the first step, which are the same if the sides learn the same."""
    lines = ["first step (the loss is 0 but for rounding: group-centred advantages and a ratio of 1):"]
    for name, result in first.items():
        norm = result["gradient_norm"]
        line = f"  {name}: loss {result['loss']:+.1e}, gradient norm {norm:.6f}"
        if name in SAME_STEP and "trl" in first:
            line += f", {norm / first['trl']['gradient_norm'] - 1:+.1e} from trl's"
        lines.append(f"{line}, {result['completion_tokens']:,} completion tokens")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = next(iter(workload.WORKLOADS))
    parser.add_argument("--workload", choices=workload.WORKLOADS, default=default, help="tokens of prompts x answers")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of all sides")
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a side in a repeat; even, for k = 2")
    parser.add_argument("--only", nargs="+", choices=SIDES, default=list(SIDES), metavar="SIDE", help=", ".join(SIDES))
    arguments = parser.parse_args()
    names, work = arguments.only, workload.WORKLOADS[arguments.workload]
    if any(SIDES[name].program == "peer" for name in names) and not PEER_PYTHON.exists():
        sys.exit("TRL is not installed: run `make bench-setup`, or leave TRL out with --only ours")
    with tempfile.TemporaryDirectory() as scratch:
        stored = workload.store(work, Path(scratch))
        try:
            repeated, first = compare(Path(scratch), work, names, arguments.repeats, arguments.steps)
        except SideError as error:
            sys.exit(f"a side failed: {error}")
    head = [
        "",
        "tokens/s",
        "from, to",
        "of matrix rate",
        "peak GB",
        "of training",
        "x trl",
        "x its peak",
        "x its training",
    ]
    print(f"\n{table(head, rows(repeated, names))}\n\n{NOTES}\n\n{agreement(first)}")
    rates = {
        dtype: spread([measured["matrix_rates"][dtype] for measured in repeated]) for dtype in ("float32", "bfloat16")
    }
    for name, result in first.items():
        if scoring := result.get("guide_seconds"):
            step = statistics.median(result["seconds"])
            print(f"{name}: scoring the batch once takes {scoring / step:.0%} of a step")
    print(
        "\nmatrix rate: " + ", ".join(f"{dtype} {rate['median'] / 1e9:,.0f} GFLOP/s" for dtype, rate in rates.items())
    )
    print(f"FLOPs of a step: {flops.step_flops(work.shape, stored) / 1e12:.3f} T = {flops.FORMULA}")
    print("peak: resident memory of the process; of training: peak minus resident memory before the policy was loaded")
    print(f"TRL's settings: {peer.SETTINGS}; ours: {FLOAT32}")
    summary = {
        "workload": asdict(work),
        "tokens": stored.tokens,
        "step_flops": flops.step_flops(work.shape, stored),
        "flops_formula": flops.FORMULA,
        "cores": os.cpu_count(),
        "sides": {name: asdict(SIDES[name]) for name in names},
        "trl_settings": peer.SETTINGS,
        "repeats": repeated,
        "first_step": first,
    }
    if "trl" in names:
        keys = ("tokens_per_second", "peak_gb", "training_gb")
        summary["over_trl"] = {name: {key: ratio(repeated, name, key) for key in keys} for name in names}
    write("update" if arguments.workload == default else f"update-{arguments.workload}", summary)


if __name__ == "__main__":
    main()
