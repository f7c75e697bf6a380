"""Messages between the outside and the sandbox: frames of JSON, and values as plain data.

A frame is its length (4 bytes, big-endian) and that many bytes of JSON. A hostile program may have written what comes
out of the sandbox: it is bounded before it is read, and read as values of built-in types only.

Values as JSON: null, booleans, text, floats and small integers as they are; everything else is a list whose first
item is its kind:

    ["i", hex]  ["b", latin-1 text]  ["c", real, imaginary]
    ["l", *items]  ["t", *items]  ["s", *items]  ["f", *items]  ["d", *keys and values in turn]
    ["o", number]                                                 an object that stays with the program
"""

import json
import os
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 64
_SMALL = 2**53
_MAX_ALIKE = 100

Refer = Callable[[Any], int]
Resolve = Callable[[int], Any]


class Malformed(Exception):
    """Bytes that are not a frame, or data that is not a value."""


class Kept:
    """A stand-in for an object that stayed with the program; equal to nothing."""

    def __repr__(self) -> str:
        return "an object that is not plain data"


class Closed(Exception):
    """The other end is gone."""


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def parse(body: bytes) -> Any:
    """Read the message in a frame's body.

    Raises:
        Malformed: it is not JSON, or nests too deeply.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None


def send(fd: int, message: object) -> None:
    view = memoryview(frame(json.dumps(message).encode()))
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int) -> Any:
    """Read the next message, from a sender that is trusted: for use inside the sandbox.

    Raises:
        Closed: there is none.
    """
    (size,) = struct.unpack(">I", _read(fd, 4))
    return json.loads(_read(fd, size))


def encode(value: Any, refer: Refer | None = None, depth: int = MAX_DEPTH) -> Any:
    """Return a value as JSON. Subclasses of built-in types lose their class; `refer` gives other objects a number.

    Raises:
        Malformed: the value is not plain data (without `refer`), or nests deeper than `depth`.
    """
    if depth < 0:
        raise Malformed("nests too deeply")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < _SMALL else ["i", hex(value)]
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return ["b", value.decode("latin-1")]
    if isinstance(value, complex):
        return ["c", value.real, value.imag]
    if isinstance(value, dict):
        flat = [item for pair in value.items() for item in pair]
        return ["d", *(encode(item, refer, depth - 1) for item in flat)]
    for kind, types in (("l", list), ("t", tuple), ("s", set), ("f", frozenset)):
        if isinstance(value, types):
            return [kind, *(encode(item, refer, depth - 1) for item in value)]
    if refer is None:
        raise Malformed(f"{type(value).__name__} is not plain data")
    return ["o", refer(value)]


def decode(data: Any, resolve: Resolve | None = None, depth: int = MAX_DEPTH) -> Any:
    """Return the value that `encode` was given. Without `resolve`, objects that stayed behind become `Kept`.

    Raises:
        Malformed: it is not a value, or nests deeper than `depth`.
    """
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if depth < 0 or not isinstance(data, list) or not data:
        raise Malformed("not a value")
    kind, *items = data
    try:
        if kind in ("i", "b", "c", "o"):
            return _scalar(kind, items, resolve)
        values = [decode(item, resolve, depth - 1) for item in items]
        if kind in ("s", "f", "d"):
            _check_hashes(values[:: 2 if kind == "d" else 1])
        if kind == "d":
            return dict(zip(values[::2], values[1::2], strict=True))
        return {"l": list, "t": tuple, "s": set, "f": frozenset}[kind](values)
    except (KeyError, TypeError, ValueError):
        raise Malformed("not a value") from None


def _check_hashes(values: list[Any]) -> None:
    """Refuse many values with one hash: a set of them, easily made of integers, takes quadratic time to build."""
    if values and max(Counter(map(hash, values)).values()) > _MAX_ALIKE:
        raise Malformed("values whose hashes collide")


def _scalar(kind: str, items: list[Any], resolve: Resolve | None) -> Any:
    match kind, items:
        case "i", [str(digits)]:
            return int(digits, 16)
        case "b", [str(text)]:
            return text.encode("latin-1")
        case "c", [float(real), float(imaginary)]:
            return complex(real, imaginary)
        case "o", [int(number)]:
            return resolve(number) if resolve else Kept()
    raise Malformed("not a value")


def _read(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            more = os.read(fd, size - len(data))
        except ConnectionResetError:
            more = b""
        if not more:
            raise Closed
        data += more
    return bytes(data)
