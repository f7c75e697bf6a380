"""Equivalence of mathematical answers."""

from functools import lru_cache
from importlib.metadata import version
from typing import Any

from math_verify import parse

from components.contract.answers import STYLES, Style, final_answer
from components.reward.graders.math_equivalence import equivalent


def grader_version(*, time_limit: float, extract: str = "auto") -> str:  # noqa: ARG001
    if extract not in STYLES:
        raise ValueError(f"extract is {extract!r}; it is one of {', '.join(STYLES)}")
    return f"3+math-verify-{version('math-verify')}"


def math(
    *,
    completion: str,
    answer: str | None,
    prompt: str,  # noqa: ARG001
    metadata: dict[str, Any],  # noqa: ARG001
    extract: Style = "auto",
) -> float:
    """1 where the completion's final answer is equivalent to the prompt's, else 0.

    Args:
        extract: where the final answer stands (`components.contract.answers.final_answer`). With `auto`, a completion
            without any of those marks is searched for its last expression by math-verify.
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
    """The answer alone, where it comes with its worked solution."""
    expected = final_answer(answer) or answer
    if not expected.strip():
        raise ValueError(f"the prompt's answer {answer!r} is empty")
    return expected


def _last_expression(completion: str) -> str | None:
    """The text of what math-verify takes for the answer of a completion that marks none."""
    found = parse(completion, parsing_timeout=None)
    return next((str(item) for item in found if isinstance(item, str)), None)
