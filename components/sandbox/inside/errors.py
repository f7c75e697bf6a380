"""Exceptions as JSON: `[name, message, bases, arguments, attributes]`, with the bases in the standard library."""

import importlib
import sys
from typing import Any

from components.sandbox.inside.values import Malformed, decode, encode

_MESSAGE_CHARACTERS = 200
# Raised within `all(map(f, xs))` they would end it without a failure.
_SILENT = (StopIteration, StopAsyncIteration)

# Packages that are imported for an exception's class; importing others may do more than that.
_WITH_ERRORS = {
    "argparse", "ast", "asyncio", "binascii", "configparser", "concurrent", "copy", "csv", "_csv",
    "dataclasses", "decimal", "email", "getopt", "graphlib", "http", "json", "locale", "pickle", "_pickle",
    "queue", "_queue", "shutil", "socket", "sqlite3", "statistics", "struct", "subprocess", "tarfile",
    "tokenize", "unittest", "urllib", "uuid", "xml", "zipfile", "zlib", "zoneinfo",
}  # fmt: skip


class ProgramError(Exception):
    """The program raised something that ends a loop without a failure."""


def encode_error(error: BaseException) -> list[Any]:
    kind = type(error)
    return [kind.__name__, _text(error), base_names(kind), _plain(error.args) or ["t"], _plain(_attributes(error))]


def base_names(kind: type) -> list[list[str]]:
    """Return module and name of the exception classes that a class is or derives from, in its order."""
    return [[base.__module__, base.__qualname__] for base in kind.__mro__ if issubclass(base, BaseException)]


def error_class(bases: Any, known: dict[str, type[BaseException]]) -> type[BaseException]:
    """Return the class whose `base_names` are given: one of the standard library, or one made here.

    Args:
        known: classes made before by name, to which those made now are added.
    """
    own: list[str] = []
    found: list[type[BaseException]] = []
    for entry in bases if isinstance(bases, list) else []:
        match entry:
            case [str(module), str(name)]:
                kind = _exception(module, name)
                if kind is None:
                    own.append(name)
                elif not any(issubclass(other, kind) for other in found):
                    found.append(kind)
    if not found or issubclass(found[0], _SILENT):
        return ProgramError
    made = found[0]
    parents = tuple(found)
    for name in reversed(own):
        if name not in known:
            try:
                known[name] = type(name, parents, {"__str__": _message})
            except TypeError:
                known[name] = type(name, parents[:1], {"__str__": _message})
        made = known[name]
        parents = (made,)
    return made


def decode_error(data: Any, known: dict[str, type[BaseException]] | None = None) -> BaseException:
    """Return the exception that `encode_error` was given; `known` is that of `error_class`."""
    match data:
        case [str(name), str(message), bases, arguments, attributes]:
            kind = error_class(bases, {} if known is None else known)
            if kind is ProgramError:
                return ProgramError(f"{name}: {message}")
            return _made(kind, name, message, _given(arguments), _given(attributes))
    return ProgramError("its error cannot be read")


def _made(kind: type[BaseException], name: str, message: str, arguments: Any, attributes: Any) -> BaseException:
    arguments = arguments if isinstance(arguments, tuple) else (message,)
    try:
        error = kind(*arguments)
    except Exception:
        error = kind.__new__(kind)
    error.args = arguments
    for key, value in attributes.items() if isinstance(attributes, dict) else ():
        try:
            setattr(error, str(key), value)
        except Exception:
            continue
    error.__dict__["program_message"] = message
    error.__dict__["program_name"] = name
    return error


def _message(error: BaseException) -> str:
    return str(error.__dict__.get("program_message", BaseException.__str__(error)))


def _exception(module: str, name: str) -> type[BaseException] | None:
    top = module.partition(".")[0]
    if top not in sys.stdlib_module_names or not (module in sys.modules or top in _WITH_ERRORS):
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception:
        return None
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _attributes(error: BaseException) -> dict[str, Any]:
    found = {key: value for key, value in vars(error).items() if isinstance(value, str | int | float | tuple | list)}
    return {key: value for key, value in found.items() if not key.startswith("_")}


def _plain(value: Any) -> Any:
    try:
        return encode(value)
    except Exception:
        return None


def _given(data: Any) -> Any:
    try:
        return decode(data)
    except Malformed:
        return None


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_MESSAGE_CHARACTERS]
    except BaseException:
        return ""
