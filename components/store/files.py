"""What goes wrong with files, said in one line."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.contract.errors import InputError
from components.store.base import ObjectMissing

TEMPORARY = ".tmp-"
"""How the name of a file that is still being written begins."""


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
    """Whether a directory is there. Raises InputError where that cannot be seen, as below one that is closed."""
    with reading(path):
        return path.is_dir()


def _reason(error: OSError, path: Path) -> str:
    """The system's words, with the name they are about where that is another than `path`."""
    about = str(error.filename or "")
    if not about or about == str(path) or TEMPORARY in about:
        return error.strerror or str(error)
    return f"{error.strerror} ({about})"
