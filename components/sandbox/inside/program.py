"""The process of a program: runs its text, then replies to calls. It does not know which values are expected.

It shares its interpreter with the program, so a message from it may come from the program: a value to be compared
elsewhere, and nothing more.
"""

import atexit
import builtins
import os
import sys
import threading
import types
from contextlib import suppress
from typing import Any

from components.sandbox.inside.errors import base_names, decode_error, encode_error
from components.sandbox.inside.operations import OPERATIONS
from components.sandbox.inside.values import CONTAINERS, Malformed, content, decode, encode
from components.sandbox.inside.wire import Closed, receive, send

_MESSAGE_CHARACTERS = 200
_MAX_CUTS = 20


def serve(channel: int) -> None:
    """Load a program, then carry out `[operation, target, *arguments]`; a target is a name or an object's number.

    The first message is a text of definitions that the program may use; the reply, before there is a program that could
    send it, is `["given"]`, or `["broken", message]` where that text fails. The second one is the program. Sends
    `["ready", names]` or `["failed", type, message]`; then `["value", value, changed arguments or null]`,
    `["raised", error]` or `["unreadable", reason]`.
    """
    module = _module("program")
    try:
        exec(compile(receive(channel), "<given>", "exec"), module.__dict__)
    except BaseException as error:
        send(channel, ["broken", ": ".join(_named(error))])
        return
    send(channel, ["given"])
    try:
        exec(_compiled(receive(channel)), module.__dict__)
    except BaseException as error:
        send(channel, ["failed", *_named(error)])
        return
    send(channel, ["ready", [name for name in module.__dict__ if isinstance(name, str)]])
    with suppress(Closed):
        _Service(channel, module).serve()


class _Service:
    def __init__(self, channel: int, module: types.ModuleType) -> None:
        self.channel, self.module = channel, module
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}

    def serve(self) -> Any:
        """Reply to requests until a callback returns; return its result."""
        while True:
            operation, target, *arguments = receive(self.channel)
            if operation == "return":
                return decode(arguments[0], self.resolve)
            if operation == "throw":
                raise decode_error(arguments[0])
            try:
                reply = self.carry_out(operation, target, arguments)
            except Malformed as error:
                reply = ["unreadable", str(error)]
            except BaseException as error:
                reply = ["raised", encode_error(error)]
            send(self.channel, reply)

    def carry_out(self, operation: str, target: int | str, arguments: list[Any]) -> list[Any]:
        subject = self.objects[target] if isinstance(target, int) else _global(self.module, target)
        values = [decode(argument, self.resolve) for argument in arguments]
        if operation == "content":
            base = next(base for base in type(subject).__mro__ if base.__name__ == values[0])
            return ["value", content(subject, base, self.refer), None]
        result = OPERATIONS[operation](subject, *values)
        changed = None
        if operation == "call" and any(isinstance(item, CONTAINERS) for item in (*values[0], *values[1].values())):
            changed = [encode(value, self.refer) for value in values]
            changed = changed if changed != arguments else None
        if operation in ("attribute", "item", "itself") and type(result) in CONTAINERS:
            # The program goes on using it: a test may change it, and sees how it changes.
            number, about = self.refer(result)
            return ["value", ["o", number, content(result, type(result), self.refer), about], changed]
        return ["value", encode(result, self.refer), changed]

    def refer(self, value: Any) -> tuple[int, Any]:
        """Keep an object; return its number, and its class, whether that compares by itself, and an error's bases."""
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        kind = type(value)
        base = next((base for base in kind.__mro__[1:] if base.__module__ == "builtins"), object)
        bases = base_names(value) if isinstance(value, type) and issubclass(value, BaseException) else None
        own = kind.__eq__ is not base.__eq__ and _origin(kind.__eq__) != "<string>"  # where dataclasses are made
        names = [base.__name__ for base in kind.__mro__]
        return self.numbers[id(value)], [names, own, bases, value.__name__ if bases else None]

    def resolve(self, number: int, _: Any, name: Any) -> Any:
        """Return an object of the program's, or, below 0, a stand-in for a function of the tests."""
        if number >= 0:
            return self.objects[number]

        def callback(*positional: Any, **named: Any) -> Any:
            given = [encode(positional, self.refer), encode(named, self.refer)]
            send(self.channel, ["callback", number, *given])
            return self.serve()

        callback.__name__ = callback.__qualname__ = str(name)
        return callback


def _origin(function: Any) -> Any:
    return getattr(getattr(function, "__code__", None), "co_filename", None)


def script(channel: int) -> None:
    """Run a program as `__main__` on standard input and output; sends `["ended"]` or `["failed", type, message]`."""
    module = _module("__main__")
    sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stdout = output = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    reply = ["ended"]
    try:
        exec(_compiled(receive(channel)), module.__dict__)
    except SystemExit as ending:
        if ending.code not in (None, 0):
            reply = ["failed", *_named(ending)]
    except BaseException as error:
        reply = ["failed", *_named(error)]
    # Wait for threads, then run the functions of `atexit`, as an interpreter does when it ends.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, output):
        with suppress(Exception):  # closed, or the program's own
            stream.flush()
    with suppress(OSError):
        os.close(1)
    send(channel, reply)


def _module(name: str) -> types.ModuleType:
    module = sys.modules[name] = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    return module


def _compiled(sources: list[tuple[str, bool]]) -> types.CodeType:
    """Compile the first text that is Python. Where its flag is set, prose may follow the program."""
    first: Exception | None = None
    for text, cut in sources:
        for _ in range(_MAX_CUTS if cut else 1):
            try:
                return compile(text, "<program>", "exec")
            except SyntaxError as error:
                first = first or error
                text = "\n".join(text.split("\n")[: (error.lineno or 1) - 1])
            except ValueError as error:  # null bytes
                first = first or error
                break
            if not text.strip():
                break
    raise first or SyntaxError("there is no program")


def _global(module: types.ModuleType, name: str) -> Any:
    if name not in module.__dict__:
        raise NameError(f"name {name!r} is not defined")
    return module.__dict__[name]


def _named(error: BaseException) -> tuple[str, str]:
    try:
        message = str(error)
    except BaseException:
        message = ""
    return type(error).__name__, message[:_MESSAGE_CHARACTERS]
