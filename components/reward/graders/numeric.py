"""Comparison of final numbers."""

import re
from fractions import Fraction

from components.contract.answers import NUMBER
from components.reward.graders import grader

_MARKER = re.compile(
    r"""\#{4}                                     # GSM8K: `#### 42`
    | \\boxed\s*\{                                # LaTeX
    | \bA:                                        # `A: 42`
    | (?i:\banswer[*_]*\s*(?:is\b|:|=))           # `Answer: 42`, `**Answer**: 42`, `the answer is 42`
    """,
    re.VERBOSE,
)


@grader(version="1")
def numeric(completion: str, answer: str | None, *, relative_tolerance: float = 0.0) -> float:
    r"""Return 1 where the final numbers of completion and answer are equal, else 0.

    The final number follows the last of `####`, `A:`, `answer:`, `answer is`, `\boxed{`; without any of them (or
    without a number after it) it is the last number. Thousands commas, signs, decimals, exponents and fractions `a/b`
    are read exactly. With `relative_tolerance` t, x and a count as equal where |x - a| <= t |a|.
    """
    expected = final_number(answer or "")
    if expected is None:
        raise ValueError(f"the prompt's answer {answer!r} has no number")
    found = final_number(completion)
    return float(found is not None and abs(found - expected) <= Fraction(relative_tolerance) * abs(expected))


def final_number(text: str) -> Fraction | None:
    """Return the final number of a text, exactly; None where there is none."""
    markers = list(_MARKER.finditer(text))
    if markers:
        line = text[markers[-1].end() :].lstrip().partition("\n")[0]
        result = NUMBER.search(line.rpartition("=")[2]) or NUMBER.search(line)
        if result is not None:
            return _value(result)
    numbers = list(NUMBER.finditer(text))
    return _value(numbers[-1]) if numbers else None


def _value(match: re.Match[str]) -> Fraction | None:
    try:
        value = Fraction(match["digits"].replace(",", "") + (match["exponent"] or ""))
        if match["denominator"]:
            value /= Fraction(match["denominator"])
    except (ValueError, ZeroDivisionError):  # thousands of digits, or a division by zero
        return None
    return -value if match["sign"] in ("-", "\u2212") else value
