"""Comparison of a program's output with the expected one."""

import math
import re
from decimal import Decimal

TOLERANCE = 1e-6

_WHOLE = re.compile(r"[-+]?\d+")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?")
_LONGEST_NUMBER = 100


def same_tokens(output: str, wanted: str) -> bool:
    """Return whether both have the same words, however they are spaced, as judges of programming contests compare.

    Where the expected word is a number with a decimal point or an exponent, a difference of `TOLERANCE`, absolute or
    relative, is allowed. A whole number is expected exactly, but may be written as `5.0`.
    """
    found, expected = output.split(), wanted.split()
    return len(found) == len(expected) and all(map(_same_word, found, expected))


def same_lines(output: str, wanted: str) -> bool:
    """Return whether both have the same lines, but for white space at the ends of lines and empty lines at the end."""
    return _lines(output) == _lines(wanted)


def _same_word(found: str, expected: str) -> bool:
    if found == expected:
        return True
    if max(len(found), len(expected)) > _LONGEST_NUMBER:
        return False
    if not (_NUMBER.fullmatch(found) and _NUMBER.fullmatch(expected)):
        return False
    if _WHOLE.fullmatch(expected):
        return not _WHOLE.fullmatch(found) and Decimal(found) == Decimal(expected)
    return math.isclose(float(found), float(expected), rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
