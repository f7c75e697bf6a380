"""Comparison of final numbers."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from components.contract.answers import NUMBER, final_answer, marked_answer, trimmed
from components.reward.graders import grader
from components.reward.mathematics.equivalence import quantity, value_of
from components.reward.mathematics.exact import Uncomputable, exact
from components.reward.mathematics.formula import parsed
from components.reward.mathematics.notation import Malformed, Unknown
from components.reward.mathematics.units import conversion

# Behind a number in prose: what makes another value of it.
_GOES_ON = re.compile(
    r"\s?(?:[\d^_!/*+=\\-]|(?!a\s)[a-zA-Z](?![a-zA-Z])|(?i:hundred|thousand|[mbtr]+illion|dozen)\b|,\s?\d)"
)
_PROSE = re.compile(r"[a-zA-Z\s,:.'$€£]*")
_LONGEST = 1000
_CHANGES = re.compile(r"(?i:\b(?:not?|never|negative|minus|less|fewer|than|least|most|between|half|twice|root|or)\b)")


class Quantity(NamedTuple):
    """A rational number with its unit (None where there is none) and whether a percent sign follows it."""

    value: Fraction
    unit: str | None
    is_percent: bool


@grader(version="2")
def numeric(
    completion: str,
    answer: str | None,
    prompt: str = "",
    *,
    relative_tolerance: float = 0.0,
    reasoning_end: str | None = "auto",
) -> float:
    """Return 1 where the final numbers of completion and answer are equal, else 0.

    The final number is that of `components.contract.answers.final_answer`, in any notation that `math` reads: decimals,
    fractions, mixed numbers, thousands, powers of ten, units. With `relative_tolerance` t, x and a count as equal where
    |x - a| <= t |a|.

    Args:
        reasoning_end: the mark that ends the reasoning (`components.contract.answers.without_reasoning`).

    Raises:
        ValueError: the prompt's answer is not a rational number.
    """
    expected = _expected(answer or "")
    text = final_answer(completion, "auto", prompt, reasoning_end)
    found = read_quantity(text) if text is not None else None
    return float(found is not None and _agree(found, expected, Fraction(relative_tolerance)))


@lru_cache(maxsize=256)
def _expected(answer: str) -> Quantity:
    text = marked_answer(answer) or trimmed(answer.strip()) or ""
    try:
        found = _whole(text)
    except Malformed:
        found = None
    if found is None:
        raise ValueError(f"the prompt's answer {answer[:80]!r} is not a rational number; use the grader math")
    return found


def final_number(text: str) -> Fraction | None:
    """Return the final number of a text, exactly; None where there is none."""
    answer = final_answer(text)
    found = read_quantity(answer) if answer is not None else None
    return found.value if found else None


def read_quantity(answer: str) -> Quantity | None:
    """Return the value of an answer, or of the only number in its prose; None if it is not a rational number."""
    try:
        return _whole(answer)
    except Malformed:
        part = answer.rpartition("=")[2]
        found = NUMBER.search(part)
        if found is None or not _PROSE.fullmatch(part, 0, found.start()) or _GOES_ON.match(part, found.end()):
            return None
        if _CHANGES.search(part[: found.end() + 40]):
            return None
        return None if len(found.group()) > _LONGEST else _whole(found.group())


def _whole(answer: str) -> Quantity | None:
    """Return the value of an answer without prose; None if it is not a rational number.

    Raises:
        Malformed: the answer is prose.
    """
    try:
        node = value_of(parsed(answer))
        value, unit, is_percent = quantity(node) if node is not None else (None, None, False)
        rational = exact(value) if value is not None else None
    except (Unknown, Uncomputable):
        return None
    return None if rational is None else Quantity(rational, unit, is_percent)


def _agree(found: Quantity, expected: Quantity, tolerance: Fraction) -> bool:
    scale = conversion(found.unit, expected.unit)
    if scale is None:
        return False
    values = [found.value * scale]
    if found.is_percent != expected.is_percent:
        # A percent sign on one side only may be that of the question, or mean hundredths.
        values.append(values[0] / 100 if found.is_percent else values[0] * 100)
    return any(abs(value - expected.value) <= tolerance * abs(expected.value) for value in values)
