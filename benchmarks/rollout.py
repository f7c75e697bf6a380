"""Tokens per second of the rollout engine against a bare `LLM.generate` with log-probabilities.

    .venv/bin/python benchmarks/rollout.py [--repeats 5] [--prompts 1024]

Both sample the same prompts from the same policy with the same vLLM settings; they take turns, each in its own process.
The bare run draws without seeds per completion and does not decode; ours seeds every completion, so that a killed run
can be resumed, and decodes the text for graders. Prints a table and writes `benchmarks/results/rollout.json`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SAMPLES = 8
MAX_TOKENS = 5
MAX_LENGTH = 32
SEQUENCES = 1024


def bare(policy: Path, prompts: list[list[int]]) -> tuple[int, float]:
    """Return completion tokens and seconds of the second of two calls."""
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "TORCHDYNAMO_DISABLE": "1"}
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=str(policy),
        dtype="float32",
        max_model_len=MAX_LENGTH,
        max_num_seqs=SEQUENCES,
        enforce_eager=True,
        logprobs_mode="processed_logprobs",
        enable_chunked_prefill=False,
        max_num_batched_tokens=8192,
    )
    params = SamplingParams(
        n=SAMPLES, temperature=1.0, max_tokens=MAX_TOKENS, logprobs=0, flat_logprobs=True, detokenize=False
    )
    for _ in range(2):
        begin = time.perf_counter()
        outputs = engine.generate([{"prompt_token_ids": p} for p in prompts], params, use_tqdm=False)
        seconds = time.perf_counter() - begin
    return sum(len(c.token_ids) for output in outputs for c in output.outputs), seconds


def ours(policy: Path, prompts: list[list[int]]) -> tuple[int, float]:
    """Return the same for the engine of the rollout stage."""
    from components.contract.config import ModelSection
    from components.contract.rollout_config import EngineSection
    from components.rollout.engine import Engine, GroupRequest, SamplingSpec

    engine = Engine(
        policy,
        ModelSection(path=str(policy), dtype="float32", max_length=MAX_LENGTH),
        EngineSection(max_num_seqs=SEQUENCES),
        seed=0,
    )
    spec = SamplingSpec(SAMPLES, 1.0, 1.0, MAX_TOKENS, ())
    for _ in range(2):
        begin = time.perf_counter()
        requests = [GroupRequest(str(i), p, spec, seed=i * SAMPLES) for i, p in enumerate(prompts)]
        groups = list(engine.sample(requests))
        seconds = time.perf_counter() - begin
    return sum(len(c.token_ids) for _, group in groups for c in group), seconds


def measure(kind: str, policy: Path, prompts: int) -> float:
    words = [sys.executable, __file__, "--one", kind, "--policy", str(policy), "--prompts", str(prompts)]
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=REPOSITORY, env=environment)
    tokens, seconds = json.loads(done.stdout.splitlines()[-1])
    return tokens / seconds


def make_policy(directory: Path) -> None:
    """Save a policy of the demo's architecture and tokenizer, with random weights, on which speed does not depend."""
    import torch

    from pipelines.demo.arithmetic import tokenizer, untrained_policy

    torch.manual_seed(0)
    untrained_policy().save_pretrained(directory)
    tokenizer().save_pretrained(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs")
    parser.add_argument("--prompts", type=int, default=1024, help=f"prompts, {SAMPLES} completions each")
    parser.add_argument("--one", choices=("bare", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--policy", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        from pipelines.demo.arithmetic import problems, tokenizer

        encode = tokenizer().encode
        prompts = [encode(prompt) for prompt, _ in problems(0)[: arguments.prompts]]
        print(json.dumps({"bare": bare, "ours": ours}[arguments.one](arguments.policy, prompts)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        make_policy(Path(scratch))
        pairs = []
        for number in range(1, arguments.repeats + 1):
            pair = {kind: measure(kind, Path(scratch), arguments.prompts) for kind in ("bare", "ours")}
            pairs.append(pair)
            print(f"{number}: bare {pair['bare']:,.0f}, ours {pair['ours']:,.0f} tokens/s", flush=True)
    ratios = [pair["ours"] / pair["bare"] for pair in pairs]
    summary = {
        "prompts": arguments.prompts,
        "samples": SAMPLES,
        "pairs": pairs,
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "largest": max(ratios)},
    }
    print(f"ours / bare: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    results = REPOSITORY / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "rollout.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
