"""Equivalence of mathematical answers."""

from functools import lru_cache
from importlib.metadata import version

from components.contract.answers import STYLES, Style, final_answer, marked_answer
from components.mathematics.equivalence import equivalent
from components.reward.graders import grader


def _check(extract: str) -> None:
    if extract not in STYLES:
        raise ValueError(f"extract must be one of {', '.join(STYLES)} (got {extract!r})")


@grader(version=f"4+math-verify-{version('math-verify')}", check=_check)
def math(
    completion: str,
    answer: str | None,
    prompt: str = "",
    *,
    extract: Style = "auto",
    reasoning_end: str | None = "auto",
) -> float:
    """Return 1 where the completion's final answer is equivalent to the prompt's, else 0.

    Args:
        extract: where the final answer stands (`components.contract.answers.final_answer`).
        reasoning_end: the mark that ends the reasoning (`components.contract.answers.without_reasoning`).
    """
    if answer is None:
        raise ValueError("this grader compares with the prompt's answer, and the prompt has none")
    expected = _expected(answer)
    found = final_answer(completion, extract, prompt, reasoning_end)
    return float(found is not None and equivalent(found, expected))


@lru_cache(maxsize=256)
def _expected(answer: str) -> str:
    """Return the final answer alone, where `answer` is a worked solution."""
    expected = marked_answer(answer) or answer
    if not expected.strip():
        raise ValueError(f"the prompt's answer {answer!r} is empty")
    return expected
