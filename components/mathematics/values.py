"""Values of expressions: exact if they are rational, else to 50 digits at a few values of every variable.

Two expressions are equal if they agree in 40 digits at all of these points (Schwartz 1980, Zippel 1979: two different
expressions agree at a random point with negligible probability). Nothing too large is computed, such as 9^(9^9).
"""

import random
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import mpmath

from components.mathematics.exact import LARGEST_FACTORIAL, MOST_BITS, Uncomputable, exact
from components.mathematics.tree import Node, has, symbol_name, symbols

_mp = mpmath.mp.clone()
_mp.dps = 60
_POINTS = ((0.1, 0.9, 0), (1.1, 3.0, 0), (0.2, 2.0, 0), (0.2, 2.5, 1), (0.3, 0.95, 1))
_MOST_STEPS = 3000
_EQUAL = _mp.mpf(10) ** -40
_LOST = _mp.mpf(10) ** -50
_TRIGONOMETRIC = {"sin", "cos", "tan", "cot", "sec", "csc"}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sin": _mp.sin, "cos": _mp.cos, "tan": _mp.tan, "cot": _mp.cot, "sec": _mp.sec, "csc": _mp.csc,
    "arcsin": _mp.asin, "arccos": _mp.acos, "arctan": _mp.atan, "arccot": _mp.acot, "arcsec": _mp.asec,
    "arccsc": _mp.acsc, "sinh": _mp.sinh, "cosh": _mp.cosh, "tanh": _mp.tanh, "arcsinh": _mp.asinh,
    "arccosh": _mp.acosh, "arctanh": _mp.atanh, "ln": _mp.log, "lg": _mp.log10, "exp": _mp.exp, "abs": abs,
    "max": max, "min": min, "log": lambda x, base=10: _mp.log(x) / _mp.log(base),
}  # fmt: skip


@lru_cache(maxsize=1024)
def _variable(name: str, point: int) -> Any:
    least, most, signed = _POINTS[point]
    chance = random.Random(f"{name}/{point}")
    return _mp.mpf(chance.uniform(least, most)) * (chance.choice((1, -1)) if signed else 1)


class Evaluation:
    """The value of one expression at one point, and `scale`, the largest term of the sums in it."""

    def __init__(self, node: Node, point: int) -> None:
        self._point = point
        self._steps = 0
        self.scale = _mp.mpf(0)
        try:
            self.value = self._of(node)
        except Uncomputable:
            raise
        except (ArithmeticError, ValueError, TypeError, mpmath.libmp.NoConvergence) as error:
            raise Uncomputable(str(error)) from error
        if _mp.isnan(self.value) or _mp.isinf(self.value):
            raise Uncomputable("undefined")

    def _of(self, node: Node, in_angle: bool = False) -> Any:
        self._steps += 10 if node.kind == "call" else 1
        if self._steps > _MOST_STEPS:
            raise Uncomputable("longer than any answer")
        match node.kind:
            case "number":
                return _mp.mpf(node.value.numerator) / node.value.denominator
            case "symbol":
                return self._symbol(symbol_name(node))
            case "unit":
                value = self._of(node.args[0], in_angle)
                return value * _mp.pi / 180 if in_angle and node.value == "degree" else value
            case "percent":
                return self._of(node.args[0]) / 100
            case "+":
                terms = [self._of(argument, in_angle) for argument in node.args]
                self.scale = max(self.scale, *map(abs, terms))
                return self._checked(_mp.fsum(terms))
            case "*":
                return self._checked(_mp.fprod(self._of(argument, in_angle) for argument in node.args))
            case "/":
                above, below = (self._of(argument, in_angle) for argument in node.args)
                if below == 0:
                    raise Uncomputable("a division by zero")
                return self._checked(above / below)
            case "^":
                return self._checked(self._powered(node))
            case "call":
                return self._checked(self._called(node))
            case "det":
                return self._determinant(node)
        raise Uncomputable(f"{node.kind} has no value")

    def _symbol(self, name: str) -> Any:
        constants = {"pi": _mp.pi, "e": _mp.e, "i": _mp.mpc(0, 1)}
        return constants[name] if name in constants else _variable(name, self._point)

    @staticmethod
    def _checked(value: Any) -> Any:
        if value != 0 and abs(_mp.mag(value)) > MOST_BITS:
            raise Uncomputable("too large")
        return value

    def _powered(self, node: Node) -> Any:
        rational = exact(node.args[1])
        base = self._of(node.args[0])
        exponent = self._of(node.args[1])
        if base == 0:
            if rational is None or rational <= 0:
                raise Uncomputable("a power of zero")
            return _mp.mpf(0)
        if abs(_mp.log(abs(base))) * abs(exponent) > MOST_BITS:
            raise Uncomputable("too large")
        if rational is None:
            return _mp.power(base, exponent)
        if rational.denominator == 1:
            return _mp.power(base, int(rational))
        if _mp.im(base) == 0 and base < 0 and rational.denominator % 2:
            size = _mp.power(-base, exponent)
            return -size if rational.numerator % 2 else size
        return _mp.power(base, exponent)

    def _called(self, node: Node) -> Any:
        name = node.value
        values = [self._of(argument, name in _TRIGONOMETRIC) for argument in node.args]
        if name in ("floor", "ceil"):
            self.scale = max(self.scale, abs(values[0]))
            return (_mp.floor if name == "floor" else _mp.ceil)(values[0])
        if name in ("factorial", "binom"):
            if max(map(abs, values)) > LARGEST_FACTORIAL:
                raise Uncomputable("too large")
            return (_mp.factorial if name == "factorial" else _mp.binomial)(*values)
        if name == "exp" and abs(values[0]) > MOST_BITS:
            raise Uncomputable("too large")
        if name not in _FUNCTIONS:
            raise Uncomputable(f"{name} has no value")
        return _FUNCTIONS[name](*values)

    def _determinant(self, node: Node) -> Any:
        rows = [[self._of(cell) for cell in row.args] for row in node.args]
        if len(rows) > 8 or any(len(row) != len(rows) for row in rows):
            raise Uncomputable("no determinant")
        self.scale = max(self.scale, *(abs(cell) ** len(rows) for row in rows for cell in row))
        return _mp.det(_mp.matrix(rows))


def near(first: Any, second: Any, scale: Any = 0) -> bool:
    """Return whether two values agree in all digits that are certain."""
    return bool(abs(first - second) <= _EQUAL * max(abs(first), abs(second)) + _LOST * scale)


def evaluations(first: Node, second: Node) -> Iterator[tuple[Evaluation, Evaluation]]:
    """Yield the values of both expressions at points where both have one; once if they have no variables.

    Points where a real expression is not real are skipped, unless it is real nowhere.
    """
    is_real = not (has(first, "symbol", "i") or has(second, "symbol", "i"))
    beyond = []
    points = range(len(_POINTS)) if symbols(first) | symbols(second) else range(1)
    inside = False
    for point in points:
        try:
            pair = Evaluation(first, point), Evaluation(second, point)
        except Uncomputable:
            continue
        if is_real and any(_mp.im(evaluation.value) != 0 for evaluation in pair):
            beyond.append(pair)
        else:
            inside = True
            yield pair
    if not inside:
        yield from beyond


def same_value(first: Node, second: Node) -> bool:
    """Return whether two expressions have the same value for all values of their variables."""
    if first == second:
        return True
    try:
        rational = exact(first), exact(second)
        if rational[0] is not None and rational[1] is not None:
            return rational[0] == rational[1]
    except Uncomputable:
        return False
    pairs = list(evaluations(first, second))
    needed = 2 if symbols(first) | symbols(second) else 1
    return len(pairs) >= needed and all(near(a.value, b.value, max(a.scale, b.scale)) for a, b in pairs)


def ratio(first: Node, second: Node) -> Any:
    """Return the constant ratio of two expressions; None if their ratio varies."""
    found = []
    for a, b in evaluations(first, second):
        if near(a.value, 0, a.scale) or near(b.value, 0, b.scale):
            return None
        found.append((a.value / b.value, max(a.scale / abs(a.value), b.scale / abs(b.value), 1)))
    if len(found) < 2 or not all(near(found[0][0], value, scale * abs(value)) for value, scale in found[1:]):
        return None
    return found[0][0]


def real(node: Node) -> Any:
    """Return the value of a real constant; None for anything else."""
    if symbols(node):
        return None
    try:
        value = Evaluation(node, 0).value
    except Uncomputable:
        return None
    return None if _mp.im(value) != 0 else _mp.re(value)
