"""Numbers with their units: what the grader `numeric` compares."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from components.contract.answers import NUMBER, marked_answer, trimmed
from components.mathematics.equivalence import quantity, value_of
from components.mathematics.exact import Uncomputable, exact
from components.mathematics.formula import parsed
from components.mathematics.notation import Malformed, Unknown

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


@lru_cache(maxsize=256)
def reference_quantity(answer: str) -> Quantity:
    """Return the value of a reference answer.

    Raises:
        ValueError: it is not a rational number.
    """
    text = marked_answer(answer) or trimmed(answer.strip()) or ""
    try:
        found = _whole(text)
    except Malformed:
        found = None
    if found is None:
        raise ValueError(f"the prompt's answer {answer[:80]!r} is not a rational number; use the grader math")
    return found


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
