"""Equivalence of mathematical expressions, through math-verify."""

import logging
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from math_verify import parse, verify

VERSION = f"1+math-verify-{version('math-verify')}"

# It warns once that its time limit is off; the grading process itself is what gets stopped here.
logging.getLogger("math_verify").setLevel(logging.ERROR)


def math(
    *,
    completion: str,
    answer: str | None,
    prompt: str,  # noqa: ARG001
    metadata: dict[str, Any],  # noqa: ARG001
) -> float:
    """1 where the completion's final expression (boxed first) is equivalent to the answer, else 0."""
    if answer is None:
        raise ValueError("this grader compares with the prompt's answer, and the prompt has none")
    # math-verify's own limit is an alarm signal, which works in main threads only.
    found = parse(completion, parsing_timeout=None)
    return float(verify(_expected(answer), found, timeout_seconds=None))


@lru_cache(maxsize=256)
def _expected(answer: str) -> Any:
    expected = parse(answer if "\\boxed" in answer else f"\\boxed{{{answer}}}", parsing_timeout=None)
    if not expected:
        raise ValueError(f"the prompt's answer {answer!r} cannot be read as mathematics")
    return expected
