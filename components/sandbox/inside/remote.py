"""Stand-ins for objects of the program, for the process that runs its tests."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from components.sandbox.inside.errors import decode_error
from components.sandbox.inside.operations import BINARY, COMPARISONS, UNARY
from components.sandbox.inside.values import Exhausted, Malformed

Plain = TypeVar("Plain")

MAX_ITEMS = 200_000
_MOST_AT_ONCE = 1000
_ITERATORS = ("builtins", "itertools")


class Unrunnable(Exception):
    """A test asks for what cannot be done from outside the program: no fault of the program's."""


def read_iterator(value: Any) -> Any:
    """Return an iterator of the test's own, read to its end, so that it can be passed to the program."""
    if type(value) is Remote or not isinstance(value, Iterator) or type(value).__module__ not in _ITERATORS:
        return value
    items = []
    for item in value:
        items.append(item)
        if len(items) > MAX_ITEMS:
            raise Unrunnable("the test passes an endless iterator to the program")
    return Exhausted(items)


class Remote:
    """A stub for an object that stays with the program, which carries out what is asked of it.

    Only two objects of the program are compared there. With plain data it compares what it holds as an object of a
    built-in type; else it is equal to none, unless its class has an `__eq__`, which cannot be trusted.
    """

    __slots__ = ("_base", "_compares", "_content", "_names", "_number", "_session")

    def __init__(self, session: Any, number: int, content: Any, names: list[str], compares: bool) -> None:
        for name, value in (
            ("_session", session), ("_number", number), ("_content", content), ("_names", names),
            ("_compares", compares), ("_base", type(content) if content is not None else None),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return object.__getattribute__(self, "_base") or Remote

    def __call__(self, *positional: Any, **named: Any) -> Any:
        positional = tuple(map(read_iterator, positional))
        return _ask(self, "call", positional, {key: read_iterator(value) for key, value in named.items()})

    def __getattr__(self, name: str) -> Any:
        return _ask(self, "attribute", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "set attribute", name, value)

    def __delattr__(self, name: str) -> None:
        _ask(self, "delete attribute", name)

    def __getitem__(self, key: Any) -> Any:
        return _ask(self, "item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _ask(self, "set item", key, value)

    def __delitem__(self, key: Any) -> None:
        _ask(self, "delete item", key)

    def __contains__(self, item: Any) -> bool:
        return item in held(self) if _get(self, "_base") else exact(_ask(self, "contains", item), bool)

    def __iter__(self) -> Any:
        iterator = _ask(self, "iterate")
        return _items(iterator) if type(iterator) is Remote else iter(iterator)

    def __next__(self) -> Any:
        match _ask(self, "next", 1):
            case ([item], True, None):
                return item
            case ([], False, None):
                raise StopIteration
            case ([], False, error):
                raise decode_error(error)
        raise Malformed("not an item")

    def __reversed__(self) -> Any:
        iterator = _ask(self, "reversed")
        return _items(iterator) if type(iterator) is Remote else iter(iterator)

    def __await__(self) -> Any:
        return _ask(self, "await")
        yield

    def __enter__(self) -> Any:
        return _ask(self, "enter")

    def __exit__(self, *_: object) -> None:
        _ask(self, "exit")

    def __len__(self) -> int:
        return exact(_ask(self, "length"), int)

    def __str__(self) -> str:
        return exact(_ask(self, "text"), str)

    def __repr__(self) -> str:
        return exact(_ask(self, "repr"), str)

    def __format__(self, form: str) -> str:
        return exact(_ask(self, "format", form), str)

    def __bool__(self) -> bool:
        return exact(_ask(self, "truth"), bool)

    def __int__(self) -> int:
        return exact(_ask(self, "int"), int)

    def __float__(self) -> float:
        return exact(_ask(self, "float"), float)

    def __complex__(self) -> complex:
        return exact(_ask(self, "complex"), complex)

    def __round__(self, *digits: Any) -> Any:
        return _ask(self, "round", *digits)

    def __instancecheck__(self, value: Any) -> bool:
        return exact(_ask(self, "is instance", value), bool)

    def __subclasscheck__(self, kind: Any) -> bool:
        return exact(_ask(self, "is subclass", kind), bool)

    def __hash__(self) -> int:
        return hash(held(self)) if _get(self, "_base") else exact(_ask(self, "hash"), int)

    def __eq__(self, other: object) -> bool:
        if type(other) is Remote and not (_get(self, "_base") and _get(other, "_base")):
            return exact(_ask(self, "equal", other), bool)
        if _get(self, "_base"):
            return bool(held(self) == held(other))
        if _get(self, "_compares"):
            name = _get(self, "_names")[0]
            raise Unrunnable(f"it compares plain data with an object whose class, {name}, decides what it equals")
        return False

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise Unrunnable("it copies an object of the program")


def _get(remote: Remote, name: str) -> Any:
    return object.__getattribute__(remote, name)


def _ask(remote: Remote, operation: str, *arguments: Any) -> Any:
    return _get(remote, "_session").request(operation, _get(remote, "_number"), *arguments)


def held(value: Any) -> Any:
    """Return what an object of the program's holds now as one of a built-in type; other values as they are."""
    if type(value) is not Remote or _get(value, "_base") is None:
        return value
    base = _get(value, "_base")
    return exact(_ask(value, "content", base.__name__), base)


def _items(iterator: Any) -> Iterator[Any]:
    """Yield the items of the program's iterator: at most as many are read ahead as were needed before."""
    count = 0
    more = True
    while more:
        match _ask(iterator, "next", min(max(count, 1), _MOST_AT_ONCE)):
            case (list(items), bool(more), error):
                count += len(items)
                if count > MAX_ITEMS:
                    raise OverflowError(f"the program's iterator does not end after {MAX_ITEMS:,} items")
                yield from items
                if error is not None:
                    raise decode_error(error)
            case _:
                raise Malformed("not items")


def exact(value: Any, kind: type[Plain]) -> Plain:
    """Return the value if it is of this type, not of one derived from it."""
    if type(value) is not kind:
        raise TypeError(f"the program returned {value!r}, not {kind.__name__}")
    found: Plain = value
    return found


def _binary(name: str) -> Callable[..., Any]:
    return lambda self, other: _ask(self, name, other)


def _unary(name: str) -> Callable[..., Any]:
    return lambda self: _ask(self, name)


def _comparison(name: str) -> Callable[..., Any]:
    def compare(self: Remote, other: Any) -> Any:
        if type(other) is Remote and not (_get(self, "_base") and _get(other, "_base")):
            return _ask(self, name, other)
        if _get(self, "_base"):
            return getattr(held(self), f"__{name}__")(held(other))
        raise Unrunnable(f"it compares plain data with an object of the class {_get(self, '_names')[0]}")

    return compare


for _name in BINARY:
    for _prefix in ("", "r", "i"):
        setattr(Remote, f"__{_prefix}{_name}__", _binary(_prefix + _name))
for _name in UNARY:
    setattr(Remote, f"__{_name}__", _unary(_name))
for _name in COMPARISONS:
    setattr(Remote, f"__{_name}__", _comparison(_name))
