"""Tests that are one call with plain values: judged here, by comparing plain values."""

import ast
import math
from dataclasses import dataclass
from typing import Any, Literal

RELATIVE_TOLERANCE = 1e-7

Check = Literal["equal", "true", "false", "close"]


@dataclass(frozen=True)
class Call:
    """`name(*positional, **named)` and what is expected; `tolerance` is absolute and for `close` only."""

    name: str
    positional: tuple[Any, ...]
    named: dict[str, Any]
    check: Check
    expected: Any = None
    tolerance: float = 0.0

    def holds(self, value: Any) -> bool:
        """Whether a value, decoded from what a program sent, is what is expected."""
        match self.check:
            case "true":
                return bool(value)
            case "false":
                return not value
            case "equal":
                return bool(value == self.expected)
            case "close":
                return bool(value == self.expected) or _close(value, self.expected, self.tolerance)


def parse_call(test: str) -> Call | None:
    """`assert f(1, [2]) == 3`, `assert f(x=1)` or `assert not f(1)`; None for every other test.

    The name may be that of a built-in function: that the program defines is certain only here, where nothing but the
    program is called.
    """
    try:
        body = ast.parse(test.strip()).body
    except (SyntaxError, ValueError):
        return None
    match body:
        case [ast.Assert(test=ast.Compare(left=ast.Call() as call, ops=[ast.Eq()], comparators=[expected]))]:
            return _call(call, "equal", expected)
        case [ast.Assert(test=ast.Compare(left=expected, ops=[ast.Eq()], comparators=[ast.Call() as call]))]:
            return _call(call, "equal", expected)
        case [ast.Assert(test=ast.Call() as call)]:
            return _call(call, "true")
        case [ast.Assert(test=ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call))]:
            return _call(call, "false")
    return None


def _call(call: ast.Call, check: Check, expected: ast.expr | None = None) -> Call | None:
    if not isinstance(call.func, ast.Name):
        return None
    try:
        positional = tuple(ast.literal_eval(argument) for argument in call.args)
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        wanted = ast.literal_eval(expected) if expected else None
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None
    return Call(call.func.id, positional, named, check, wanted)


def _close(value: Any, expected: Any, tolerance: float) -> bool:
    """Of floats, or sequences of nothing but floats, as MBPP+ has it."""
    if isinstance(expected, float):
        number = isinstance(value, int | float)
        return number and math.isclose(value, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=tolerance)
    if isinstance(expected, list | tuple) and expected and all(isinstance(item, float) for item in expected):
        same = isinstance(value, list | tuple) and len(value) == len(expected)
        return same and all(_close(v, e, tolerance) for v, e in zip(value, expected, strict=True))
    return False
