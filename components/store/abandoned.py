"""Files and directories whose maker was killed: who makes one holds a lock on it, which ends with its process."""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path


def lock(path: Path) -> int:
    """Lock a file or directory; return the descriptor that holds the lock. Raises OSError where another has it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def remove_if_abandoned(path: Path) -> None:
    """Remove a file or directory unless it is locked or another user's."""
    with suppress(OSError):
        descriptor = lock(path)
        try:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            os.close(descriptor)
