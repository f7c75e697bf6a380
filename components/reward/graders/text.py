"""Graders that look at the completion as text."""

import re
from functools import lru_cache
from typing import Any

from components.contract.answers import without_reasoning
from components.reward.graders import grader


@grader(version="2")
def exact(completion: str, answer: str | None, prompt: str = "", *, reasoning_end: str | None = "auto") -> float:
    """Return 1 where completion and answer are equal up to white space at the ends, else 0.

    Args:
        reasoning_end: the mark that ends the reasoning (`components.contract.answers.without_reasoning`).
    """
    expected = _needed(answer).strip()
    text = without_reasoning(completion, prompt, reasoning_end)
    return float(text is not None and text.strip() == expected)


def checked_pattern(pattern: str) -> re.Pattern[str]:
    """Compile the option `pattern`. Raises ValueError where it is not a regular expression."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern is not a regular expression: {error} (got {pattern!r})") from None


def _check_pattern(pattern: str, group: int | str | None) -> None:
    compiled = checked_pattern(pattern)
    if group is not None and group not in (*range(compiled.groups + 1), *compiled.groupindex):
        raise ValueError(f"pattern has no group {group!r} (got {pattern!r})")


@grader(version="1", check=_check_pattern)
def regex(
    completion: str,
    answer: str | None,
    prompt: str = "",
    *,
    pattern: str,
    group: int | str | None = None,
    reasoning_end: str | None = None,
) -> float:
    """Return 1 where `pattern` is found in the completion, or its last match's `group` equals the answer, else 0.

    Args:
        group: number or name of a group; compared up to white space at the ends.
        reasoning_end: as for `exact`; by default the pattern sees the reasoning too, with its marks.
    """
    text = without_reasoning(completion, prompt, reasoning_end)
    matches = list(_compiled(pattern).finditer(text)) if text is not None else []
    if not matches:
        return 0.0
    if group is None:
        return 1.0
    return float((matches[-1].group(group) or "").strip() == _needed(answer).strip())


@grader(version="1")
def length(
    completion: str,
    metadata: dict[str, Any],
    *,
    max_tokens: int | None = None,
    max_characters: int | None = None,
    buffer: int | None = None,
) -> float:
    """Return a soft penalty for completions that are too long, from 0 to -1.

    DAPO, arXiv 2503.14476, equation 13. With length n, longest allowed length L (`max_tokens` or `max_characters`) and
    `buffer` B (default L / 5):

        0                   n <= L - B
        (L - B - n) / B     L - B < n <= L
        -1                  n > L
    """
    if (max_tokens is None) == (max_characters is None):
        raise ValueError("the length grader takes one of the options max_tokens and max_characters")
    longest = max_tokens if max_tokens is not None else max_characters
    assert longest is not None
    size = metadata["completion_tokens"] if max_tokens is not None else len(completion)
    margin = buffer if buffer is not None else max(1, longest // 5)
    if size > longest:
        return -1.0
    return min(0.0, (longest - margin - size) / margin) if margin else 0.0


@lru_cache(maxsize=16)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _needed(answer: str | None) -> str:
    if answer is None:
        raise ValueError("this grader compares with the prompt's answer, and the prompt has none")
    return answer
