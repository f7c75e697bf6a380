"""Exact values of rational expressions, within bounds of size."""

import math
from collections.abc import Callable
from fractions import Fraction

from components.mathematics.tree import Node

MOST_BITS = 50_000
LARGEST_FACTORIAL = 4000


class Uncomputable(ValueError):
    """Raised for an expression without a value: too large to compute, undefined, or not a number."""


def exact(node: Node) -> Fraction | None:
    """Return the exact value of a rational expression; None where it is not rational or has variables.

    Raises:
        Uncomputable: a division by zero, or a number of more than some ten thousand digits.
    """
    match node.kind:
        case "number":
            value: Fraction = node.value
            return value
        case "unit":
            return exact(node.args[0])
        case "percent":
            inside = exact(node.args[0])
            return None if inside is None else inside / 100
        case "+" | "*" | "/" | "^" | "call" | "det":
            if node.kind == "call" and node.value not in _EXACT:
                return None
            if node.kind == "det":
                return None
            arguments = [exact(argument) for argument in node.args]
            if any(argument is None for argument in arguments):
                return None
            return _bounded(_EXACT[node.value if node.kind == "call" else node.kind](*arguments))
    return None


def _bounded(value: Fraction | None) -> Fraction | None:
    if value is not None and max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise Uncomputable("too large")
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        return _root(base, exponent)
    if base == 0 and exponent <= 0:
        raise Uncomputable("a power of zero")
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if base not in (0, 1, -1) and size * abs(exponent) > 2 * MOST_BITS:
        raise Uncomputable("too large")
    if base in (1, -1):
        return base if exponent % 2 else Fraction(1)
    return base ** int(exponent)


def _root(base: Fraction, exponent: Fraction) -> Fraction | None:
    """Return a rational root; None where it is irrational."""
    if exponent.denominator > 64 or abs(exponent.numerator) > 64 or (base < 0 and exponent.denominator % 2 == 0):
        return None
    roots = [_integer_root(abs(part), exponent.denominator) for part in (base.numerator, base.denominator)]
    if None in roots or roots[1] is None or roots[0] is None:
        return None
    root = Fraction(roots[0], roots[1]) * (-1 if base < 0 else 1)
    return None if root == 0 and exponent < 0 else root ** int(exponent.numerator)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
    elif value.bit_length() > 150:
        return None
    else:
        root = round(value ** (1 / degree))
    return root if root**degree == value else None


def _product(factors: tuple[Fraction, ...]) -> Fraction:
    result = Fraction(1)
    for factor in factors:
        result = result * factor
        _bounded(result)
    return result


def _divided(above: Fraction, below: Fraction) -> Fraction:
    if below == 0:
        raise Uncomputable("a division by zero")
    return above / below


def _factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1 or value < 0:
        return None
    if value > LARGEST_FACTORIAL:
        raise Uncomputable("too large")
    return Fraction(math.factorial(int(value)))


def _binomial(n: Fraction, k: Fraction) -> Fraction | None:
    if n.denominator != 1 or k.denominator != 1 or n < 0:
        return None
    if min(abs(k), abs(n - k)) * n.numerator.bit_length() > MOST_BITS:
        raise Uncomputable("too large")
    return Fraction(math.comb(int(n), int(k))) if k >= 0 else Fraction(0)


_EXACT: dict[str, Callable[..., Fraction | None]] = {
    "+": lambda *a: sum(a, Fraction(0)),
    "*": lambda *a: _product(a),
    "/": _divided,
    "^": _power,
    "factorial": _factorial,
    "binom": _binomial,
    "abs": abs,
    "floor": lambda a: Fraction(math.floor(a)),
    "ceil": lambda a: Fraction(math.ceil(a)),
    "max": lambda *a: max(a),
    "min": lambda *a: min(a),
    "gcd": lambda *a: Fraction(math.gcd(*map(int, a))) if all(x.denominator == 1 for x in a) else None,
    "lcm": lambda *a: Fraction(math.lcm(*map(int, a))) if all(x.denominator == 1 for x in a) else None,
}
