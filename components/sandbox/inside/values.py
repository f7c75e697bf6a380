"""Values as JSON, so that they can be compared where the program that returned them cannot reach.

Null, booleans, text, floats and small integers are themselves; everything else is a list whose first item is its kind:

    ["i", hex]  ["b", latin-1 text]  ["c", real, imaginary]
    ["l", *items]  ["t", *items]  ["s", *items]  ["f", *items]  ["d", *keys and values in turn]
    ["x", class, *arguments]      a value of the standard library, made by calling its class
    ["keys" | "values" | "items", dict]                         a view of a dict
    ["iterator", list]                                          an iterator that was read to its end
    ["n", module, name]           a class or function of the standard library
    ["o", number, content, about] an object that stays on the other side; `content` is that of the built-in type from
                                  which its class derives (null without one), `about` what else there is to know
"""

import datetime
import sys
import types
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

MAX_DEPTH = 64
_SMALL = 2**53
_MAX_ALIKE = 100

Refer = Callable[[Any], tuple[int, Any]]
Resolve = Callable[[int, Any, Any], Any]

_NEW: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    Decimal: lambda v: (str(v),),
    Fraction: lambda v: (v.numerator, v.denominator),
    range: lambda v: (v.start, v.stop, v.step),
    slice: lambda v: (v.start, v.stop, v.step),
    bytearray: lambda v: (bytes(v),),
    array: lambda v: (v.typecode, v.tolist()),
    deque: lambda v: (list(v), v.maxlen),
    Counter: lambda v: (dict(v),),
    OrderedDict: lambda v: (dict(v),),
    defaultdict: lambda v: (v.default_factory, dict(v)),
    UUID: lambda v: (v.hex,),
    **{
        kind: lambda v: v.__reduce__()[1]
        for kind in (datetime.date, datetime.time, datetime.datetime, datetime.timedelta, datetime.timezone)
    },
}
_CLASSES = {kind.__qualname__: kind for kind in _NEW}
_VIEWS: dict[str, type] = {
    "keys": type({}.keys()),
    "values": type({}.values()),
    "items": type({}.items()),
}
_ITEMS: dict[str, type] = {"l": list, "t": tuple, "s": set, "f": frozenset}
_BASES = (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, *_NEW)
CONTAINERS = (list, dict, set, bytearray, deque, Counter, OrderedDict, defaultdict, array)
_CONSTANTS = {"Ellipsis": ..., "NotImplemented": NotImplemented}
# Of these modules functions go by name; elsewhere only classes do.
_PURE = {"builtins", "math", "_operator", "operator", "functools", "itertools", "string", "statistics", "_functools"}
_IMPURE = {"eval", "exec", "open", "compile", "input", "breakpoint", "__import__", "exit", "quit"}


class Malformed(Exception):
    """Bytes that are not a frame, or data that is not a value."""


class Exhausted:
    """The items of an iterator that was read to its end."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items


def encode(value: Any, refer: Refer | None = None, depth: int = MAX_DEPTH) -> Any:
    """Return a value as JSON; `refer` gives objects that stay here a number, and what else there is to know of them.

    Raises:
        Malformed: the value is not plain data (without `refer`), or nests deeper than `depth`.
    """
    if depth < 0:
        raise Malformed("a value nests too deeply")
    kind = type(value)
    if kind in _BASES or value is None:
        return _content(value, kind, refer, depth)
    for name, view in _VIEWS.items():
        if kind is view:
            pairs = value.mapping if name != "keys" else dict.fromkeys(value)
            return [name, encode(dict(pairs), refer, depth - 1)]
    if (found := _named(value)) is not None:
        return ["n", *found]
    if isinstance(value, Exhausted):
        return ["iterator", encode(value.items, refer, depth - 1)]
    if refer is None:
        raise Malformed(f"{kind.__name__} is not plain data")
    base = next((base for base in kind.__mro__ if base in _BASES), None)
    number, about = refer(value)
    return ["o", number, content(value, base, refer, depth) if base else None, about]


def content(value: Any, base: type, refer: Refer | None, depth: int = MAX_DEPTH) -> Any:
    """Return what an object holds as an object of a built-in type from which its class derives."""
    if base is dict:
        return _content({key: dict.__getitem__(value, key) for key in dict.__iter__(value)}, dict, refer, depth)
    if base in _ITEMS.values():
        return _content(list(getattr(base, "__iter__")(value)), base, refer, depth)  # noqa: B009
    return _content(value, base, refer, depth)


def _content(value: Any, kind: type, refer: Refer | None, depth: int) -> Any:
    if value is None or kind is bool:
        return value
    if kind is int:
        value = int.__index__(value)
        return value if abs(value) < _SMALL else ["i", hex(value)]
    if kind is float:
        return float.__float__(value)
    if kind is str:
        return str.__str__(value)
    if kind is bytes:
        return ["b", value.decode("latin-1")]
    if kind is complex:
        return ["c", value.real, value.imag]
    if kind is dict:
        return ["d", *(encode(item, refer, depth - 1) for pair in dict(value).items() for item in pair)]
    for name, listed in _ITEMS.items():
        if kind is listed:
            return [name, *(encode(item, refer, depth - 1) for item in value)]
    return ["x", kind.__qualname__, *(encode(item, refer, depth - 1) for item in _NEW[kind](value))]


def _named(value: Any) -> tuple[str, str] | None:
    """Return module and name of a class or function of the standard library."""
    for name, constant in _CONSTANTS.items():
        if value is constant:
            return "builtins", name
    owner = getattr(value, "__objclass__", None) if isinstance(value, types.MethodDescriptorType) else value
    if not isinstance(owner, type | types.BuiltinFunctionType | types.FunctionType):
        return None
    module = owner.__module__
    name = owner.__qualname__ + (f".{value.__name__}" if owner is not value else "")
    if isinstance(module, str) and _is_shared(_find(module, name), module) and _find(module, name) is value:
        return module, name
    return None


def _is_shared(found: Any, module: str) -> bool:
    if isinstance(found, types.BuiltinFunctionType | types.FunctionType):
        return module in _PURE and found.__name__ not in _IMPURE
    return isinstance(found, type | types.MethodDescriptorType)


def _find(module: str, name: str) -> Any:
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return None
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def decode(data: Any, resolve: Resolve | None = None, depth: int = MAX_DEPTH) -> Any:
    """Return the value that `encode` was given; `resolve` gets what follows `"o"`.

    Raises:
        Malformed: it is not a value, or nests deeper than `depth`.
    """
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if depth < 0 or not isinstance(data, list) or not data:
        raise Malformed("not a value")
    kind, *items = data
    try:
        if kind in ("i", "b", "c", "n"):
            return _scalar(kind, items)
        if kind == "o":
            number, held, about = items
            if resolve is None or type(number) is not int:
                raise Malformed("not a value")
            return resolve(number, None if held is None else decode(held, resolve, depth - 1), about)
        if kind == "x":
            return _CLASSES[items[0]](*(decode(item, resolve, depth - 1) for item in items[1:]))
        values = [decode(item, resolve, depth - 1) for item in items]
        if kind in ("s", "f", "d"):
            check_hashes(values[:: 2 if kind == "d" else 1])
        if kind == "d":
            return dict(zip(values[::2], values[1::2], strict=True))
        if kind == "iterator":
            return iter(*values)
        if kind in _VIEWS:
            (held,) = values
            if type(held) is not dict:
                raise Malformed("not a value")
            return getattr(held, kind)()
        return _ITEMS[kind](values)
    except Malformed:
        raise
    except Exception:
        raise Malformed("not a value") from None


def check_hashes(values: list[Any]) -> None:
    """Refuse many values with one hash: a set of them, easily made of integers, takes quadratic time to build."""
    if values and max(Counter(map(hash, values)).values()) > _MAX_ALIKE:
        raise Malformed("values whose hashes collide")


def _scalar(kind: str, items: list[Any]) -> Any:
    match kind, items:
        case "i", [str(digits)]:
            return int(digits, 16)
        case "b", [str(text)]:
            return text.encode("latin-1")
        case "c", [float(real), float(imaginary)]:
            return complex(real, imaginary)
        case "n", ["builtins", str(name)] if name in _CONSTANTS:
            return _CONSTANTS[name]
        case "n", [str(module), str(name)]:
            found = _find(module, name)
            if _is_shared(found, module):
                return found
    raise Malformed("not a value")
