"""Equivalence of mathematical answers."""

from functools import lru_cache
from importlib.metadata import version

from math_verify import parse

from components.contract.answers import STYLES, Style, final_answer
from components.reward.graders import grader
from components.reward.graders.math_equivalence import equivalent


def _check(extract: str) -> None:
    if extract not in STYLES:
        raise ValueError(f"extract must be one of {', '.join(STYLES)} (got {extract!r})")


@grader(version=f"3+math-verify-{version('math-verify')}", check=_check)
def math(completion: str, answer: str | None, *, extract: Style = "auto") -> float:
    """Return 1 where the completion's final answer is equivalent to the prompt's, else 0.

    Args:
        extract: where the final answer stands (`components.contract.answers.final_answer`). With `auto`, math-verify
            searches a completion without any of those marks for its last expression.
    """
    if answer is None:
        raise ValueError("this grader compares with the prompt's answer, and the prompt has none")
    expected = _expected(answer)
    found = final_answer(completion, extract)
    if found is None and extract == "auto":
        found = _last_expression(completion)
    return float(found is not None and equivalent(found, expected))


@lru_cache(maxsize=256)
def _expected(answer: str) -> str:
    """Return the final answer alone, where `answer` is a worked solution."""
    expected = final_answer(answer) or answer
    if not expected.strip():
        raise ValueError(f"the prompt's answer {answer!r} is empty")
    return expected


def _last_expression(completion: str) -> str | None:
    """Return the text that math-verify takes for the answer of a completion without marks."""
    found = parse(completion, parsing_timeout=None)
    return next((str(item) for item in found if isinstance(item, str)), None)
