"""Sets of real numbers: intervals, unions and the inequalities that describe them, as pieces of the number line."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components.mathematics.tree import Node
from components.mathematics.values import near, real

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_INFINITY = Node("symbol", value="infty")
_BRACKETS = {"(": False, "[": True, ")": False, "]": True}


@dataclass(frozen=True)
class Piece:
    """An interval; a bound that is None is infinite."""

    low: Node | None
    low_closed: bool
    high: Node | None
    high_closed: bool


def is_infinite(node: Node) -> bool:
    """Return whether a bound is infinity of either sign."""
    return node == _INFINITY or (node.kind == "*" and len(node.args) == 2 and node.args[1] == _INFINITY)


def is_interval(node: Node) -> bool:
    r"""Return whether brackets can only mean an interval: `[0,1)`, `[0,1]`, `(0,\infty)`."""
    return (
        node.kind == "tuple"
        and len(node.args) == 2
        and (str(node.value) != "()" or any(is_infinite(argument) for argument in node.args))
        and str(node.value) != "<>"
    )


def region(node: Node) -> list[Piece] | None:
    """Return the pieces that an answer describes; None if it does not describe a part of the number line."""
    match node.kind:
        case "tuple" if len(node.args) == 2 and str(node.value) != "<>":
            low, high = (None if is_infinite(bound) else bound for bound in node.args)
            return [Piece(low, _BRACKETS[node.value[0]], high, _BRACKETS[node.value[1]])]
        case "set":
            return [Piece(point, True, point, True) for point in node.args]
        case "symbol" if node.value == "mathbbR":
            return [Piece(None, False, None, False)]
        case "union":
            return _joined(node)
        case "list" if node.value == "or":
            return _joined(node)
        case "relation":
            return _described(node)
    return None


def _joined(node: Node) -> list[Piece] | None:
    parts = [region(argument) for argument in node.args]
    return None if any(part is None for part in parts) else [piece for part in parts if part for piece in part]


def _described(node: Node) -> list[Piece] | None:
    r"""Return the pieces of `x > 2`, `2 < x \le 4`, `x \ne 3` or `x \in (2, 4]`."""
    sides, signs = list(node.args), list(node.value)
    if signs == ["in"]:
        return region(sides[1])
    if len(sides) == 2 and signs[0] in _FLIPPED and sides[1].kind == "symbol" and sides[0].kind != "symbol":
        sides, signs = sides[::-1], [_FLIPPED[signs[0]]]
    if len(sides) == 2 and sides[0].kind == "symbol":
        bound = sides[1]
        if signs[0] == "!=":
            return [Piece(None, False, bound, False), Piece(bound, False, None, False)]
        if signs[0] in ("<", "<="):
            return [Piece(None, False, _finite(bound), signs[0] == "<=")]
        if signs[0] in (">", ">="):
            return [Piece(_finite(bound), signs[0] == ">=", None, False)]
    if len(sides) == 3 and sides[1].kind == "symbol" and signs[0] in _FLIPPED and signs[1][0] == signs[0][0]:
        if signs[0][0] == ">":
            sides, signs = sides[::-1], [_FLIPPED[sign] for sign in reversed(signs)]
        return [Piece(_finite(sides[0]), signs[0] == "<=", _finite(sides[2]), signs[1] == "<=")]
    return None


def _finite(bound: Node) -> Node | None:
    return None if is_infinite(bound) else bound


def same_region(found: list[Piece], expected: list[Piece], same: Callable[[Node, Node], bool]) -> bool:
    """Return whether two lists of pieces cover the same numbers; using `same` for bounds with variables."""
    mine, theirs = _merged(found), _merged(expected)
    if mine is None or theirs is None:
        left = list(expected)
        for piece in found:
            match = next((other for other in left if _same_piece(piece, other, same)), None)
            if match is None:
                return False
            left.remove(match)
        return not left
    return len(mine) == len(theirs) and all(
        (a[1], a[3]) == (b[1], b[3]) and _equal(a[0], b[0]) and _equal(a[2], b[2])
        for a, b in zip(mine, theirs, strict=True)
    )


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b) or bool(abs(a) != float("inf") and abs(b) != float("inf") and near(a, b))


def _merged(pieces: list[Piece]) -> list[list[Any]] | None:
    """Return [low, closed, high, closed] of disjoint pieces in order; None where a bound is not a real number."""
    spans = []
    for piece in pieces:
        low = float("-inf") if piece.low is None else real(piece.low)
        high = float("inf") if piece.high is None else real(piece.high)
        if low is None or high is None:
            return None
        spans.append([low, piece.low_closed, high, piece.high_closed])
    spans.sort(key=lambda span: (span[0], not span[1]))
    merged: list[list[Any]] = []
    for span in spans:
        last = merged[-1] if merged else None
        if last and (span[0] < last[2] or (_equal(span[0], last[2]) and (span[1] or last[3]))):
            if _equal(span[2], last[2]):
                last[3] = last[3] or span[3]
            elif span[2] > last[2]:
                last[2:] = span[2:]
        else:
            merged.append(span)
    return merged


def _same_piece(a: Piece, b: Piece, same: Callable[[Node, Node], bool]) -> bool:
    if (a.low_closed, a.high_closed) != (b.low_closed, b.high_closed):
        return False
    pairs = ((a.low, b.low), (a.high, b.high))
    return all(x is y if x is None or y is None else same(x, y) for x, y in pairs)
