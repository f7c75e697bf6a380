"""Example completions of the first and the newest policy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.results import passes

PER_KIND = 2
_SHOWN_CHARACTERS = 1200


@dataclass(frozen=True)
class Sample:
    kind: str
    """`best`, `worst` or `random`."""
    prompt: str
    answer: str | None
    text: str
    reward: float
    passed: bool
    status: str
    detail: str | None
    finish_reason: str
    tokens: int


def pick(tables: Sequence[pa.Table], threshold: float, seed: int) -> list[list[Sample]]:
    """Pick best, worst and random completions of each table; the random ones answer the same prompts in all.

    Args:
        tables: completions as `results.read_completions` gives them, at least one row each.
        threshold: `evaluate.pass_threshold`.
        seed: decides among equal rewards, and what is random.
    """
    rng = np.random.default_rng(seed)
    common = sorted(set.intersection(*(set(table["prompt_id"].to_pylist()) for table in tables)))
    chosen = [str(p) for p in rng.permutation(common)[:PER_KIND]]
    return [_pick_of(table, threshold, chosen, rng) for table in tables]


def _pick_of(table: pa.Table, threshold: float, prompts: Sequence[str], rng: np.random.Generator) -> list[Sample]:
    shuffled = rng.permutation(table.num_rows)
    order = shuffled[np.argsort(table["reward"].to_numpy()[shuffled], kind="stable")]
    worst, best = order[:PER_KIND], order[PER_KIND:][::-1][:PER_KIND]
    ids = np.array(table["prompt_id"].to_pylist())
    random = [rng.choice(np.flatnonzero(ids == prompt)) for prompt in prompts]
    tokens = pc.list_value_length(table["completion_token_ids"])
    passed = passes(table["reward"], threshold)
    samples = []
    for kind, indices in (("best", best), ("worst", worst), ("random", random)):
        for index in indices:
            row = {name: table[name][int(index)].as_py() for name in _COLUMNS}
            row = {name: _shortened(value) if isinstance(value, str) else value for name, value in row.items()}
            samples.append(Sample(kind=kind, tokens=tokens[int(index)].as_py(), passed=bool(passed[index]), **row))
    return samples


_COLUMNS = ("prompt", "answer", "text", "reward", "status", "detail", "finish_reason")


def _shortened(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    half = _SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"
