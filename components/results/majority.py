"""The probability that the majority answer of k completions is right."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np

from components.contract.answers import NUMBER, final_answer

_MOST_SUBSETS = 200


def majority_at_k(answers: Sequence[str | None], passed: Sequence[bool], k: int, seed: int = 0) -> float:
    """Return maj@k: the probability that the most frequent final answer of k completions of one prompt passes.

    Source: arXiv 2203.11171.

    Ties are broken at random, and a completion without an answer has no vote. Exact, over all subsets of k
    completions, where there are at most 200 of them; else over 200 seeded draws.

    Args:
        answers: (n,) final answers in one spelling, n >= k.
        passed: (n,) whether each completion passes; equal answers pass alike, unless a grader looks at more than
            the answer: then the answer's share of passes counts.
    """
    n = len(answers)
    assert 1 <= k <= n
    if comb(n, k) <= _MOST_SUBSETS:
        subsets = [list(subset) for subset in combinations(range(n), k)]
    else:
        rng = np.random.default_rng(seed)
        subsets = [rng.choice(n, k, replace=False).tolist() for _ in range(_MOST_SUBSETS)]
    share = _shares(answers, passed)
    return float(np.mean([_vote([answers[i] for i in subset], share) for subset in subsets]))


def vote(completion: str) -> str | None:
    """Return the final answer of a completion without what spelling adds: white space, money, thousands commas."""
    answer = final_answer(completion, reasoning_end="auto")
    if answer is None:
        return None
    number = NUMBER.fullmatch(answer)
    return number.group().replace(",", "").lstrip("$") if number else "".join(answer.lower().split()).strip("$")


def _vote(answers: list[str | None], share: dict[str, float]) -> float:
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    return float(np.mean([share[answer] for answer, count in votes.items() if count == most]))


def _shares(answers: Sequence[str | None], passed: Sequence[bool]) -> dict[str, float]:
    """Return final answer -> share of the completions with it that pass."""
    counts: Counter[str] = Counter()
    passes: Counter[str] = Counter()
    for answer, right in zip(answers, passed, strict=True):
        if answer is not None:
            counts[answer] += 1
            passes[answer] += right
    return {answer: passes[answer] / count for answer, count in counts.items()}
