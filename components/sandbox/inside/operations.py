"""Operations that may be asked of an object that stays with the program, by name."""

import operator
from collections.abc import Callable, Iterator
from typing import Any

from components.sandbox.inside.errors import encode_error

BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"]
UNARY = ["neg", "pos", "abs", "invert", "index"]
COMPARISONS = ["lt", "le", "gt", "ge"]


def _operator(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(operator, f"{name}_" if name in ("and", "or") else name)
    return found


def _reflected(name: str) -> Callable[..., Any]:
    found = _operator(name)
    return lambda target, other: found(other, target)


def _in_place(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(operator, f"i{name}")
    return found


def _next(target: Iterator[Any], count: int) -> tuple[list[Any], bool, Any]:
    """Return up to `count` items, whether there may be more, and the error after them."""
    items: list[Any] = []
    for _ in range(count):
        try:
            items.append(next(target))
        except StopIteration:
            return items, False, None
        except BaseException as error:
            return items, False, encode_error(error)
    return items, True, None


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, positional, named: target(*positional, **named),
    "itself": lambda target: target,
    "attribute": getattr,
    "set attribute": setattr,
    "delete attribute": delattr,
    "item": operator.getitem,
    "set item": operator.setitem,
    "delete item": operator.delitem,
    "contains": lambda target, item: bool(item in target),
    "iterate": iter,
    "next": _next,
    "await": lambda target: _awaited(target),
    "reversed": reversed,
    "length": len,
    "text": str,
    "repr": repr,
    "format": format,
    "truth": bool,
    "hash": hash,
    "int": int,
    "float": float,
    "complex": complex,
    "round": round,
    "equal": lambda target, other: bool(target == other),
    "is instance": lambda target, value: isinstance(value, target),
    "is subclass": lambda target, value: issubclass(value, target),
    "enter": lambda target: target.__enter__(),
    "exit": lambda target: target.__exit__(None, None, None),
    **{name: _operator(name) for name in (*BINARY, *UNARY, *COMPARISONS)},
    **{f"r{name}": _reflected(name) for name in BINARY},
    **{f"i{name}": _in_place(name) for name in BINARY},
}


def _awaited(target: Any) -> Any:
    import asyncio

    async def wait() -> Any:
        return await target

    return asyncio.run(wait())
