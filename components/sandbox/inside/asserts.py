"""The process that runs tests written as Python text, while the program they test runs in another process.

A test that calls `f(3)` sends the call to the program and gets a plain value back; the value it is compared with
never leaves this process. Objects that are not plain data stay with the program: a test may call them, read and set
their attributes, index and iterate them, and take their length, truth and text. They equal nothing but themselves:
the program's `__eq__` is never called.
"""

import ast
import builtins
import symtable
import sys
from typing import Any, TypeVar

from components.sandbox.inside.wire import decode, encode, receive, send

Plain = TypeVar("Plain")

_MESSAGE_CHARACTERS = 200
# Not StopIteration and its like: raised within `all(map(f, xs))` they would end it without a failure.
_ERRORS = {
    error.__name__: error
    for error in (
        ArithmeticError, AssertionError, AttributeError, IndexError, KeyError, LookupError, NameError,
        NotImplementedError, OSError, OverflowError, RecursionError, RuntimeError, TypeError, UnicodeError, ValueError,
        ZeroDivisionError,
    )
}  # fmt: skip


class ProgramError(Exception):
    """The program raised something other than Python's ordinary errors."""


def serve(channel: int) -> None:
    """Run `{"setup": text, "tests": [text]}`, one after another in one namespace.

    Sends `["call", ...]` whenever the program is needed and reads its reply; sends `["verdict", passed, reason]`
    after every test. Where the setup fails, so do all tests.
    """
    job = receive(channel)
    namespace: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
    tests = job["tests"]
    reason = _run(channel, job["setup"], namespace)
    for test in tests:
        if not reason:
            failed = _run(channel, test, namespace)
            send(channel, ["verdict", failed is None, failed])
        else:
            send(channel, ["verdict", False, f"setup: {reason}"])


def _run(channel: int, text: str, namespace: dict[str, Any]) -> str | None:
    """Run a text and return why it failed; None where it ran to its end."""
    try:
        for name, module in _unbound(text, namespace).items():
            namespace[name] = __import__(name) if module else _Requests(channel, name)("itself")
        exec(compile(text, "<test>", "exec"), namespace)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:_MESSAGE_CHARACTERS]
    return None


def _unbound(text: str, namespace: dict[str, Any]) -> dict[str, bool]:
    """Return the names that a text uses but does not define, and whether each is a module, used for its attributes."""
    top = symtable.symtable(text, "<test>", "exec")
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used = {
        symbol.get_name()
        for table in _tables(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
    nodes = list(ast.walk(ast.parse(text)))
    owners = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    bare = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in owners}
    unbound = used - bound - namespace.keys() - vars(builtins).keys()
    return {name: name in sys.stdlib_module_names and name not in bare for name in unbound}


def _tables(table: symtable.SymbolTable) -> list[symtable.SymbolTable]:
    return [table, *(inner for child in table.get_children() for inner in _tables(child))]


class Remote:
    """A stub for an object that stays with the program."""

    def __init__(self, channel: int, target: int) -> None:
        object.__setattr__(self, "_request", _Requests(channel, target))

    def __call__(self, *positional: Any, **named: Any) -> Any:
        return self._request("call", positional, named)

    def __getattr__(self, name: str) -> Any:
        return self._request("attribute", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._request("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._request("item", key)

    def __iter__(self) -> Any:
        return iter(_exact(self._request("items"), list))

    def __len__(self) -> int:
        return _exact(self._request("length"), int)

    def __str__(self) -> str:
        return _exact(self._request("text"), str)

    def __bool__(self) -> bool:
        return _exact(self._request("truth"), bool)


class _Requests:
    """Requests to the program about one of its objects, by name or number."""

    def __init__(self, channel: int, target: str | int) -> None:
        self.channel, self.target = channel, target

    def __call__(self, operation: str, *arguments: Any) -> Any:
        encoded = [encode(argument, _number) for argument in arguments]
        send(self.channel, ["call", operation, self.target, *encoded])
        match receive(self.channel):
            case ["value", data]:
                return decode(data, lambda number: Remote(self.channel, number))
            case ["raised", str(kind), str(message)]:
                raise _ERRORS.get(kind, ProgramError)(message)
        raise ProgramError("its reply cannot be read")


def _number(value: Any) -> int:
    if not isinstance(value, Remote):
        raise TypeError(f"{value!r} is not plain data and cannot be passed to the program")
    number: int = object.__getattribute__(value, "_request").target
    return number


def _exact(value: Any, kind: type[Plain]) -> Plain:
    if type(value) is not kind:
        raise TypeError(f"the program returned {value!r}, not {kind.__name__}")
    exact: Plain = value
    return exact
