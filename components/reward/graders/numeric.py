"""Comparison of final numbers."""

from fractions import Fraction

from components.contract.answers import final_answer
from components.mathematics.quantities import Quantity, read_quantity, reference_quantity
from components.mathematics.units import conversion
from components.reward.graders import grader


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
    expected = reference_quantity(answer or "")
    text = final_answer(completion, "auto", prompt, reasoning_end)
    found = read_quantity(text) if text is not None else None
    return float(found is not None and _agree(found, expected, Fraction(relative_tolerance)))


def final_number(text: str) -> Fraction | None:
    """Return the final number of a text, exactly; None where there is none."""
    answer = final_answer(text)
    found = read_quantity(answer) if answer is not None else None
    return found.value if found else None


def _agree(found: Quantity, expected: Quantity, tolerance: Fraction) -> bool:
    scale = conversion(found.unit, expected.unit)
    if scale is None:
        return False
    values = [found.value * scale]
    if found.is_percent != expected.is_percent:
        # A percent sign on one side only may be that of the question, or mean hundredths.
        values.append(values[0] / 100 if found.is_percent else values[0] * 100)
    return any(abs(value - expected.value) <= tolerance * abs(expected.value) for value in values)
