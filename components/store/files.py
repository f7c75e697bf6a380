"""One-line messages for errors of the file system."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.contract.errors import InputError
from components.store.base import ObjectMissing

TEMPORARY = ".tmp-"
"""Prefix of the names of files that are still being written."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise ObjectMissing where the file does not exist, InputError where it cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise ObjectMissing(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {_reason(error, path)}") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise InputError where the file cannot be written."""
    try:
        yield
    except OSError as error:
        advice = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "; what was committed is safe: make room and start the same command again"
        raise InputError(f"cannot write {path}: {_reason(error, path)}{advice}") from None


def is_directory(path: Path) -> bool:
    """Return whether a directory exists. Raises InputError where that cannot be seen, as in one without access."""
    with reading(path):
        return path.is_dir()


def _reason(error: OSError, path: Path) -> str:
    """Return the system's message, with the file's name if it is not `path`."""
    about = str(error.filename or "")
    if not about or about == str(path) or TEMPORARY in about:
        return error.strerror or str(error)
    return f"{error.strerror} ({about})"
