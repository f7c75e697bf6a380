"""Messages between the outside and the sandbox: frames of JSON.

A frame is its length (4 bytes, big-endian) and that many bytes of JSON. A hostile program may have written what comes
out of the sandbox: it is bounded before it is read.
"""

import json
import os
import struct
from typing import Any

from components.sandbox.inside.values import Malformed


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
