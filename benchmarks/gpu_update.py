"""Our optimizer step on one CUDA device, with random policies of the shape of Qwen2.5-0.5B and -1.5B.

    .venv/bin/python -m benchmarks.gpu_update [--shapes 0.5B 1.5B] [--prompts 200 1000] [--steps 3] [--trl]
    .venv/bin/python -m benchmarks.gpu_update --device cpu --tiny

Prompts have 200 tokens and completions a log-normal number of at most 2,048, or 1,000 and at most 500; bf16 with
float32 master weights. Each variant changes one setting of the first and runs in its own process: objective, fused
log-probabilities, gradient checkpointing, compilation. Prints tokens per second, the share of the measured bf16 matrix
rate and peak memory (as allocated by PyTorch), and writes `benchmarks/results/gpu_update.json`. `--device cpu --tiny`
tries the code on a small shape.

It has not been run on a GPU yet.
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.training import flops, workload
from benchmarks.training.report import figures, table, write
from benchmarks.training.side import PEER_PYTHON, Side, SideError, matrix_rates, measure

NO_DEVICE = 2
"""The exit status without a CUDA device."""

WORKLOADS = {
    200: workload.Workload(prompt_tokens=200, median=500, spread=0.8, longest=2048),
    1000: workload.Workload(prompt_tokens=1000, median=150, spread=0.8, longest=500),
}
"""By the tokens of their prompts."""

SHAPES = {"0.5B": workload.QWEN_0_5B, "1.5B": workload.QWEN_1_5B}
TINY = workload.Workload(
    shape=workload.Shape(layers=2, width=64, intermediate=128, heads=2, kv_heads=1, vocabulary=512),
    prompts=2,
    group_size=4,
    prompt_tokens=8,
    median=12,
    longest=32,
)
BASE: dict[str, Any] = {
    "objective": "grpo",
    "compute_dtype": "bfloat16",
    "micro_batch_tokens": 16_384,
    "logprob_chunk": 2048,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "rapid": {"objective": "rapid"},
    "fused log-probabilities": {"logprobs": "fused"},
    "chunked log-probabilities": {"logprobs": "chunked"},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "compiled": {"compile": True},
}
TRL: dict[str, dict[str, Any]] = {
    "trl": {"bf16": True, "per_device_train_batch_size": 8},
    "trl, gradient checkpointing": {"bf16": True, "per_device_train_batch_size": 8, "gradient_checkpointing": True},
}


def sides(with_trl: bool, sequences: int) -> dict[str, Side]:
    """Return every variant by name."""
    chosen = {name: Side("ours", {**BASE, **changes}, "bfloat16") for name, changes in VARIANTS.items()}
    if with_trl:
        for name, settings in TRL.items():
            accumulation = sequences // settings["per_device_train_batch_size"]
            chosen[name] = Side("peer", {**settings, "gradient_accumulation_steps": accumulation}, "bfloat16")
    return chosen


def run_shape(work: workload.Workload, chosen: dict[str, Side], steps: int, device: str) -> dict[str, Any]:
    """Return the figures of each variant, or the reason of its failure, such as too little memory."""
    rate = matrix_rates(device)["bfloat16"]
    found: dict[str, Any] = {"matrix_rate": rate}
    with tempfile.TemporaryDirectory() as scratch:
        stored = workload.store(work, Path(scratch), device)
        found["tokens"] = stored.tokens
        for name, side in chosen.items():
            try:
                measured = measure(side, Path(scratch), steps, device)
            except SideError as error:
                found[name] = {"failed": str(error)}
            else:
                found[name] = figures(measured, stored.tokens, flops.step_flops(work.shape, stored), rate)
                found[name] |= {key: measured[key] for key in ("loss", "gradient_norm")}
    return found


def row(shape: str, name: str, found: dict[str, Any]) -> list[str]:
    if "failed" in found:
        return [f"{shape} {name}", found["failed"][:60], "", "", ""]
    rate, share = f"{found['tokens_per_second']:,.0f}", f"{found['matrix_share']:.0%}"
    return [f"{shape} {name}", rate, share, f"{found['peak_gb']:.2f}", f"{found['gradient_norm']:.5f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--prompts", nargs="+", type=int, choices=WORKLOADS, default=list(WORKLOADS), help="tokens")
    parser.add_argument("--tiny", action="store_true", help="a small shape, to try the code")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a variant")
    parser.add_argument("--trl", action="store_true", help="measure TRL's GRPOTrainer too (needs make bench-setup)")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            print("this benchmark needs a CUDA device (--device cpu --tiny tries it without)", file=sys.stderr)
            sys.exit(NO_DEVICE)
    elif not arguments.tiny:
        parser.error("--device cpu needs --tiny")
    if arguments.trl and not PEER_PYTHON.exists():
        sys.exit("TRL is not installed: run `make bench-setup`")
    works = {
        f"{name}, prompts of {tokens:,}": WORKLOADS[tokens].scaled(**asdict(SHAPES[name]))
        for name in arguments.shapes
        for tokens in arguments.prompts
    }
    if arguments.tiny:
        works = {"tiny": TINY}
    summary: dict[str, Any] = {}
    rows = []
    for shape, work in works.items():
        chosen = sides(arguments.trl, work.prompts * work.group_size)
        found = run_shape(work, chosen, arguments.steps, arguments.device)
        rows += [row(shape, name, found[name]) for name in chosen]
        summary[shape] = {"workload": asdict(work), **found}
    print(f"\n{table(['', 'tokens/s', 'of matrix rate', 'peak GB', 'gradient norm'], rows)}")
    for shape, found in summary.items():
        print(f"{shape}: {found['tokens']:,} tokens a step; matrix rate {found['matrix_rate'] / 1e12:,.2f} TFLOP/s")
    if not arguments.tiny:
        write("gpu_update", {"base": BASE, "variants": VARIANTS, "shapes": summary})


if __name__ == "__main__":
    main()
