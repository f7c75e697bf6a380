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
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any

from components.sandbox.inside.wire import Closed, decode, encode, receive, send

_MESSAGE_CHARACTERS = 200
_MAX_ITEMS = 100_000
_MAX_CUTS = 20

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, positional, named: target(*positional, **named),
    "itself": lambda target: target,
    "attribute": getattr,
    "set": setattr,
    "item": lambda target, key: target[key],
    "items": lambda target: list(islice(target, _MAX_ITEMS)),
    "length": len,
    "text": str,
    "truth": bool,
}


def serve(channel: int) -> None:
    """Load a program, then carry out `[operation, target, *arguments]`; a target is a name or an object's number.

    Sends `["ready"]` or `["failed", type, message]` first, then `["value", value]` or `["raised", type, message]`.
    """
    module = _module("program")
    try:
        exec(_compiled(receive(channel)), module.__dict__)
    except BaseException as error:
        send(channel, ["failed", *_named(error)])
        return
    send(channel, ["ready"])
    objects: list[Any] = []

    def refer(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    while True:
        try:
            operation, target, *arguments = receive(channel)
        except Closed:
            return
        try:
            subject = objects[target] if isinstance(target, int) else _global(module, target)
            values = [decode(argument, objects.__getitem__) for argument in arguments]
            reply = ["value", encode(_OPERATIONS[operation](subject, *values), refer)]
        except BaseException as error:
            reply = ["raised", *_named(error)]
        send(channel, reply)


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
