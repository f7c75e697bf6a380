"""Tokens per second of the rollout engine for the same prompts submitted in different orders.

    .venv/bin/python -m benchmarks.request_order [--repeats 3]

Prompts have 40 to 400 tokens, the first 32 of which they share by fours; each gets 8 completions of 1 to 64 tokens, 64
at a time. The orders take turns in one process, and every round begins with an empty prefix cache. Prints a table and
writes `benchmarks/results/request_order.json`.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.training.report import spread, table, write
from components.contract.config import ModelSection
from components.contract.rollout_config import EngineSection
from components.rollout.engine import Engine, GroupRequest, SamplingSpec

PROMPTS, SAMPLES, SHARED, LONGEST, SEQUENCES = 48, 8, 32, 64, 64

ORDERS = {
    "as drawn": lambda _: 0,
    "longest prompt first": lambda request: -len(request.prompt_token_ids),
    "shortest prompt first": lambda request: len(request.prompt_token_ids),
    "equal beginnings together": lambda request: list(request.prompt_token_ids),
}


def requests(vocabulary: int) -> list[GroupRequest]:
    """Draw prompts and, as the policy has random weights and seldom stops, the most tokens of their completions."""
    draw = np.random.default_rng(0)
    beginnings = draw.integers(2, vocabulary, (PROMPTS // 4, SHARED))
    found = []
    for number in draw.permutation(PROMPTS):
        rest = draw.integers(2, vocabulary, draw.integers(8, 400 - SHARED))
        spec = SamplingSpec(SAMPLES, 1.0, 1.0, int(draw.integers(1, LONGEST + 1)), ())
        ids = [*beginnings[number % len(beginnings)].tolist(), *rest.tolist()]
        found.append(GroupRequest(str(number), ids, spec, seed=int(number) * SAMPLES))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="rounds of each order")
    repeats = parser.parse_args().repeats
    from pipelines.demo.arithmetic import qwen2, tokenizer

    drawn = requests(len(tokenizer()))
    rates: dict[str, list[float]] = {name: [] for name in ORDERS}
    with tempfile.TemporaryDirectory() as policy:
        # Speed does not depend on the weights.
        qwen2(tokenizer(), width=256, mlp=1024, layers=4, heads=4, positions=512).save_pretrained(policy)
        tokenizer().save_pretrained(policy)
        model = ModelSection(path=policy, dtype="float32", max_length=512)
        engine = Engine(Path(policy), model, EngineSection(max_num_seqs=SEQUENCES), seed=0)
        list(engine.sample(drawn))  # warm-up
        for _ in range(repeats):
            for name, key in ORDERS.items():
                begin = time.perf_counter()
                groups = list(engine.sample(sorted(drawn, key=key)))
                tokens = sum(len(completion.token_ids) for _, group in groups for completion in group)
                rates[name].append(tokens / (time.perf_counter() - begin))
    ratios = {name: spread([a / b for a, b in zip(rates[name], rates["as drawn"], strict=True)]) for name in ORDERS}
    rows = []
    for name, values in rates.items():
        rate, ratio = spread(values), ratios[name]
        rows.append(
            [
                name,
                f"{rate['median']:,.0f}",
                f"{rate['least']:,.0f} to {rate['largest']:,.0f}",
                f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['largest']:.2f})",
            ]
        )
    print(table(["order", "tokens/s", "from, to", "x as drawn"], rows))
    write("request_order", {"rates": rates, "over_as_drawn": ratios})


if __name__ == "__main__":
    main()
