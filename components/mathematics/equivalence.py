"""Equality of two mathematical answers.

Answers are compared as trees: words with words, lists item by item, intervals as parts of the number line, equations
by their solutions, expressions by their values. math-verify decides only where an answer contains something that the
notation does not know, such as an integral.
"""

from fractions import Fraction
from itertools import pairwise

from components.mathematics.exact import Uncomputable, exact
from components.mathematics.formula import parsed
from components.mathematics.notation import Malformed, Unknown
from components.mathematics.regions import is_infinite, is_interval, region, same_region
from components.mathematics.tree import MINUS_ONE, Node, has, symbol_name, symbols
from components.mathematics.units import conversion
from components.mathematics.values import ratio, real, same_value
from components.mathematics.verification import verified
from components.mathematics.words import numeral, same_words

_COLLECTIONS = {"list", "tuple", "set", "union", "matrix", "row"}
_ABOUT = Fraction(1, 20)
_MOST_UNLIKE = 24


class Undecided(Exception):
    """Raised for two equations that are not multiples of one another."""


def equivalent(found: str, expected: str) -> bool:
    """Return whether the answer `found` means the same as `expected`, both as they were written."""
    words = same_words(found, expected)
    if words is not None:
        return words
    numerals = numeral(found), numeral(expected)
    if numerals[1]:
        return numerals[0] == numerals[1]
    try:
        if numerals[0]:
            return exact(parsed(expected)) == int(*numerals[0])
        return _same_trees(found, expected)
    except (Unknown, Undecided):
        return verified(found, expected)
    except (Malformed, Uncomputable, RecursionError):
        return False


def _same_trees(found: str, expected: str) -> bool:
    try:
        gold = parsed(expected)
    except Malformed as error:
        raise Unknown(str(error)) from error
    if same(parsed(found), gold):
        return True
    # A letter behind a number is a unit only where that reading makes it right.
    readings = parsed(found, True), parsed(expected, True)
    return readings != (parsed(found), gold) and any(
        same(mine, theirs) for mine, theirs in ((readings[0], gold), (parsed(found), readings[1]), readings)
    )


def same(found: Node, expected: Node) -> bool:
    """Return whether two trees mean the same."""
    found, expected = _expanded(found), _expanded(expected)
    if found == expected:
        return True
    if "relation" in (found.kind, expected.kind):
        return _same_relations(found, expected)
    if found.kind in _COLLECTIONS or expected.kind in _COLLECTIONS:
        return _same_collections(found, expected)
    return _same_quantities(found, expected)


def _expanded(node: Node) -> Node:
    r"""Return an answer with `\pm` written as a list of both."""
    if not has(node, "pm") and not has(node, "mp"):
        return node
    items = node.args if node.kind in ("list", "set") else (node,)
    both = []
    for item in items:
        both += [_signed(item, sign) for sign in (1, -1)] if has(item, "pm") or has(item, "mp") else [item]
    return Node(node.kind if node.kind == "set" else "list", tuple(dict.fromkeys(both)), ",")


def _signed(node: Node, sign: int) -> Node:
    arguments = tuple(_signed(argument, sign) for argument in node.args)
    if node.kind in ("pm", "mp"):
        factor = sign if node.kind == "pm" else -sign
        return arguments[0] if factor > 0 else Node("*", (MINUS_ONE, arguments[0]))
    return Node(node.kind, arguments, node.value)


def _same_relations(found: Node, expected: Node) -> bool:
    mine, theirs = _sides(found), _sides(expected)
    if mine is None or theirs is None:
        return _same_inequalities(found, expected)
    if found.kind == "relation" and not _is_consistent(found):
        return False
    if expected.kind != "relation":
        # `x^2 + y^2 = 25` may state 25, but no percentage.
        is_stated = mine[0] or expected.kind != "percent" or not symbols(found.args[0])
        return bool(is_stated) and any(same(value, expected) for value in mine[1])
    if found.kind != "relation":
        return bool(theirs[0]) and any(same(found, value) for value in theirs[1])
    if mine[0] and theirs[0] and (mine[0] == theirs[0] or "(" in mine[0] + theirs[0]):
        return same(mine[1][0], theirs[1][0])
    if len(found.args) != 2 or len(expected.args) != 2:
        return False
    if any(side.kind in _COLLECTIONS for side in (*found.args, *expected.args)):
        return same(found.args[0], expected.args[0]) and same(found.args[1], expected.args[1])
    return _are_multiples(found, expected)


def _are_multiples(found: Node, expected: Node) -> bool:
    factor = ratio(_difference(found), _difference(expected))
    if factor is None and symbols(found) == symbols(expected):
        raise Undecided
    return factor is not None


def _sides(node: Node) -> tuple[str, list[Node]] | None:
    """Return the label of an equation and its values; None for anything but equations and values.

    A label is a variable, as in `x = 5`, or contains a bracket, as `f(x)` and `(x, y)` do.
    """
    if node.kind != "relation":
        return "", [node]
    if not set(node.value) <= {"=", "~", "in"} or ("in" in node.value and region(node.args[-1]) is not None):
        return None
    sides = [side for side in node.args if side.kind != "nothing"]
    if len(sides) == 1:
        return "?", sides
    if _label(sides[-1]) and not _label(sides[0]):
        sides.reverse()
    about = node.value[-1] == "~"
    return _label(sides[0]), sides[-2:][::-1] if about and len(sides) > 1 else [sides[-1]]


def _label(node: Node) -> str:
    if node.kind == "symbol":
        return symbol_name(node)
    is_function = node.kind == "*" and len(node.args) == 2 and all(argument.kind == "symbol" for argument in node.args)
    is_point = node.kind == "tuple" and all(argument.kind == "symbol" for argument in node.args)
    return f"({node}" if is_function or is_point else ""


def _is_consistent(node: Node) -> bool:
    """Return whether the constants of one chain of equations are equal: those of `x = 43 = 42` are not."""
    constants = [
        side
        for side in node.args
        if side.kind not in _COLLECTIONS and side.kind not in ("nothing", "ratio") and not symbols(side)
    ]
    if "~" in node.value:
        values = [real(side) for side in constants]
        return all(
            a is not None and b is not None and abs(a - b) <= max(abs(a), abs(b)) * float(_ABOUT)
            for a, b in pairwise(values)
        )
    return all(_same_quantities(a, b) for a, b in pairwise(constants))


def _same_inequalities(found: Node, expected: Node) -> bool:
    mine, theirs = region(found), region(expected)
    if mine is not None and theirs is not None:
        named = found.kind == "relation" and expected.kind == "relation"
        return (not named or symbols(found) == symbols(expected)) and same_region(mine, theirs, same)
    if found.kind != "relation" or expected.kind != "relation" or len(found.args) != 2 or len(expected.args) != 2:
        return False
    (sign,), (other,) = found.value, expected.value
    if sign == other == "!=":
        return ratio(_difference(found), _difference(expected)) is not None
    if sign not in "<=>=" or other not in "<=>=" or "=" in (sign, other) or len(sign) != len(other):
        return False
    factor = ratio(_difference(found), _difference(expected))
    return factor is not None and bool(factor > 0) == (sign[0] == other[0])


def _difference(node: Node) -> Node:
    left, right = node.args
    return Node("+", (left, Node("*", (MINUS_ONE, right))))


def _same_collections(found: Node, expected: Node) -> bool:
    if "matrix" in (found.kind, expected.kind):
        shapes = [[len(row.args) for row in node.args] for node in (found, expected)]
        return (
            found.kind == expected.kind
            and shapes[0] == shapes[1]
            and all(
                same(*cells)
                for rows in zip(found.args, expected.args, strict=True)
                for cells in zip(rows[0].args, rows[1].args, strict=True)
            )
        )
    if _is_line(found) or _is_line(expected):
        mine, theirs = region(found), region(expected)
        return mine is not None and theirs is not None and same_region(mine, theirs, same)
    items, others = _items(found), _items(expected)
    if expected.kind not in _COLLECTIONS:
        # One answer written several times, as in `1\\frac{1}{2} or \\frac{3}{2}`.
        return found.kind in ("list", "set") and bool(items) and all(same(item, expected) for item in items)
    if expected.kind == "tuple":
        if found.kind == "tuple" and found.value != expected.value:
            return False
        return found.kind in ("tuple", "list") and len(items) == len(others) and all(map(same, items, others))
    if found.kind == "tuple" and expected.kind == "set":
        return False
    return _in_any_order(items, others)


def _is_line(node: Node) -> bool:
    """Return whether a collection can only be a part of the number line."""
    if node.kind == "list":
        return node.value == "or" and region(node) is not None
    return node.kind == "union" or is_interval(node)


def _items(node: Node) -> list[Node]:
    if node.kind == "set":
        return list(dict.fromkeys(node.args))
    return list(node.args) if node.kind in _COLLECTIONS else [node]


def _in_any_order(items: list[Node], others: list[Node]) -> bool:
    """Return whether every item has its own partner: equal rationals by value, at most 24 others by search."""
    if len(items) != len(others):
        return False
    keys: dict[object, list[Node]] = {}
    for other in others:
        keys.setdefault(_key(other), []).append(other)
    unlike = []
    for item in items:
        partners = keys.get(_key(item))
        if partners:
            partners.pop()
        else:
            unlike.append(item)
    left = [other for partners in keys.values() for other in partners]
    if len(unlike) > _MOST_UNLIKE:
        return False
    for item in unlike:
        match = next((other for other in left if same(item, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _key(node: Node) -> object:
    try:
        value = exact(node) if node.kind not in ("unit", "percent") else None
    except Uncomputable:
        return node
    return node if value is None else value


def _same_quantities(found: Node, expected: Node) -> bool:
    if found.kind == expected.kind == "ratio":
        return all(map(same, found.args, expected.args))
    (mine, unit, is_percent), (theirs, other_unit, other_is_percent) = quantity(found), quantity(expected)
    scale = conversion(unit, other_unit)
    if scale is None or is_infinite(mine) != is_infinite(theirs):
        return False
    if scale != 1:
        mine = Node("*", (Node("number", value=scale), mine))
    if same_value(mine, theirs):
        return True
    # A percent sign on one side only may be that of the question, or mean hundredths.
    if is_percent == other_is_percent:
        return False
    return same_value(Node("percent", (mine,)), theirs) if is_percent else same_value(mine, Node("percent", (theirs,)))


def value_of(node: Node) -> Node | None:
    """Return the value that an answer states: 5 of `x = 5`; None for a contradiction, or without a value."""
    if node.kind != "relation":
        return node
    sides = _sides(node)
    return sides[1][0] if sides and _is_consistent(node) else None


def quantity(node: Node) -> tuple[Node, str | None, bool]:
    """Return value, unit and percent sign of an expression."""
    if node.kind == "unit":
        value, _, is_percent = quantity(node.args[0])
        return value, node.value, is_percent
    if node.kind == "percent":
        return node.args[0], None, True
    if node.kind in ("+", "*") and node.args[-1].kind in ("unit", "percent"):
        _, unit, is_percent = quantity(node.args[-1])
        if is_percent and node.kind == "*":
            return Node("*", (*node.args[:-1], quantity(node.args[-1])[0])), unit, True
        return node, unit, False
    return node, None, False
