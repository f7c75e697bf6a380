"""Answers as trees."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """`kind` is number, symbol, call, the operator, or the name of a structure; `value` what `args` do not say."""

    kind: str
    args: tuple["Node", ...] = ()
    value: Any = None


ONE = Node("number", value=Fraction(1))
MINUS_ONE = Node("number", value=Fraction(-1))


def symbols(node: Node) -> set[str]:
    """Return the names of the variables in an expression; except `pi`, `e` and `i`."""
    if node.kind == "symbol":
        name = symbol_name(node)
        return set() if name in ("pi", "e", "i") else {name}
    return set().union(*map(symbols, node.args))


def symbol_name(node: Node) -> str:
    """Return the name of a symbol with its subscripts and primes."""
    if not node.args:
        return str(node.value)
    return "".join(symbol_name(argument) for argument in node.args) + str(node.value)


def has(node: Node, kind: str, value: Any = None) -> bool:
    """Return whether a node of that kind stands anywhere in the tree."""
    found = node.kind == kind and (value is None or node.value == value)
    return found or any(has(argument, kind, value) for argument in node.args)
