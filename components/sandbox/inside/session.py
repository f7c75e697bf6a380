"""Requests of the process that runs tests to the process of the program."""

import types
from collections import deque
from collections.abc import Callable
from typing import Any

from components.sandbox.inside.errors import decode_error, encode_error, error_class
from components.sandbox.inside.remote import Remote, Unrunnable
from components.sandbox.inside.values import Malformed, decode, encode
from components.sandbox.inside.wire import receive, send

_LOCAL_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.BuiltinMethodType)


class Session:
    """Requests to the program, and what came of them.

    Attributes:
        called: whether the current test has asked the program for anything but its names.
        objects: whether it has received an object that is not plain data.
        raised: the exceptions that the program raised.
    """

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.called = self.objects = self.holding = False
        self.raised: list[BaseException] = []
        self._remotes: dict[int, Remote] = {}
        self._functions: list[Callable[..., Any]] = []
        self._errors: dict[str, type[BaseException]] = {}
        self._numbers: dict[type, int] = {}
        self._held: list[tuple[Any, Any]] = []

    def request(self, operation: str, target: int | str, *arguments: Any) -> Any:
        """Ask the program to do something with one of its objects, by number or name; return the value.

        Raises:
            Unrunnable: an argument cannot be passed to the program.
            Malformed: its reply cannot be read.
            BaseException: what the program raised.
        """
        if operation != "itself":
            self.called = True
        try:
            encoded = [encode(argument, self._refer) for argument in arguments]
        except Malformed as error:
            raise Unrunnable(str(error)) from None
        send(self.channel, ["call", operation, target, *encoded])
        while True:
            match receive(self.channel):
                case ["value", data, changed]:
                    value = decode(data, self._resolve)
                    if changed is not None:
                        self._change(list(arguments), [decode(item, self._resolve) for item in changed], value)
                    return value
                case ["raised", error]:
                    raised = decode_error(error, self._errors)
                    self.raised.append(raised)
                    raise raised
                case ["unreadable", str(reason)]:
                    raise Unrunnable(f"the program's value cannot be read: {reason}")
                case ["callback", int(number), positional, named]:
                    send(self.channel, ["call", *self._called_back(number, positional, named)])
                case _:
                    raise Malformed("its reply cannot be read")

    def hold(self, holding: bool) -> None:
        """Put off changes of arguments, so that what an assert compares with cannot be changed by the call."""
        self.holding = holding
        while self._held and not holding:
            _apply(*self._held.pop(0))

    def _called_back(self, number: int, positional: Any, named: Any) -> list[Any]:
        if not -len(self._functions) <= number < 0:
            raise Malformed("a function of no test")
        function = self._functions[-1 - number]
        try:
            result = function(*decode(positional, self._resolve), **decode(named, self._resolve))
            return ["return", None, encode(result, self._refer)]
        except (Malformed, Unrunnable):
            raise
        except Exception as error:
            return ["throw", None, encode_error(error)]

    def _change(self, before: list[Any], after: list[Any], value: Any) -> None:
        if self.holding and value is not None:
            self._held += zip(before, after, strict=True)
        else:
            for old, new in zip(before, after, strict=True):
                _apply(old, new)

    def _refer(self, value: Any) -> tuple[int, Any]:
        if isinstance(value, type):
            if value in self._numbers:
                return self._numbers[value], None
        elif type(value) is Remote:
            return object.__getattribute__(value, "_number"), None
        elif type(value) in _LOCAL_FUNCTIONS or type(value).__name__ == "partial":
            if value not in self._functions:
                self._functions.append(value)
            return -1 - self._functions.index(value), getattr(value, "__name__", "function")
        raise Unrunnable(f"the test passes {type(value).__name__!r}, an object of its own, to the program")

    def _resolve(self, number: int, content: Any, about: Any) -> Any:
        if number < 0:
            return self._functions[-1 - number]
        match about:
            case [[str(), *_] as names, bool(compares), list(bases), str()]:
                kind = error_class(bases, self._errors)
                self._numbers[kind] = number
                return kind
            case [[str(), *_] as names, bool(compares), None, None]:
                self.objects = self.objects or names[0] not in ("function", "builtin_function_or_method")
                if number not in self._remotes:
                    self._remotes[number] = Remote(self, number, content, [str(n) for n in names], compares)
                return self._remotes[number]
        raise Malformed("not an object")


def _apply(old: Any, new: Any) -> None:
    """Make an argument, and the containers in it, what the program made of it."""
    if type(old) is not type(new):
        return
    if isinstance(old, list | tuple):
        if len(old) == len(new):
            kept = [_same(before, after) for before, after in zip(old, new, strict=True)]
            new = kept
        if isinstance(old, list):
            old[:] = new
    elif isinstance(old, dict):
        merged = {key: _same(old.get(key), item) for key, item in new.items()}
        old.clear()
        old.update(merged)
    elif isinstance(old, deque):
        old.clear()
        old.extend(new)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray):
        old[:] = new


def _same(old: Any, new: Any) -> Any:
    if type(old) is type(new) and isinstance(old, list | tuple | dict | set | bytearray | deque):
        _apply(old, new)
        return old if not isinstance(old, tuple) else new
    return new
