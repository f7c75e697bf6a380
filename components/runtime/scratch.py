"""Temporary directories that do not outlive their process for long: the next of their kind removes what a kill left."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.contract.errors import InputError
from components.store.abandoned import lock, remove_if_abandoned


@contextmanager
def scratch_directory(kind: str) -> Iterator[Path]:
    """Make a temporary directory, which is removed at the end of the block.

    The process holds a lock on it, so that one without a lock is known to be left from a process that was killed.

    Args:
        kind: prefix of its name; directories of the same kind without a lock are removed first.
    """
    folder, held = make_scratch(kind)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


@contextmanager
def own_temporary_files(kind: str) -> Iterator[None]:
    """Let this process and its children make their temporary files in a scratch directory, within the block.

    So what libraries leave behind where the process is killed is removed as well.
    """
    with scratch_directory(kind) as folder:
        variables = temporary_files_in(folder)
        before = {name: os.environ.pop(name, None) for name in variables}, tempfile.tempdir
        os.environ.update(variables)
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            values, tempfile.tempdir = before
            for name, value in values.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def make_scratch(kind: str) -> tuple[Path, int]:
    """Remove abandoned directories of a kind and make one; return it with the descriptor that holds its lock.

    Raises InputError where no directory for temporary files can be written or locked.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise InputError(f"{error.strerror}; set TMPDIR to a directory with free space") from None
    remove_abandoned(kind)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=kind))
        try:
            held = lock(folder)
        except (BlockingIOError, FileNotFoundError):  # another process has seen it without a lock and removes it
            continue
        except OSError as error:
            folder.rmdir()
            many = error.errno in (errno.EMFILE, errno.ENFILE)
            fix = "raise the limit on open files (ulimit -n)" if many else "set TMPDIR to a directory on a local disk"
            raise InputError(f"cannot lock a directory in {folder.parent}: {error.strerror}; {fix}") from None
        if folder.exists():
            # Programs in a sandbox have other users' rights, and reach their own directories through this one.
            with suppress(OSError):  # some file systems have no permissions
                folder.chmod(0o711)
            return folder, held
        os.close(held)


def remove_abandoned(kind: str) -> None:
    """Remove the directories of a kind that killed processes have left."""
    for abandoned in Path(tempfile.gettempdir()).glob(f"{kind}*"):
        remove_if_abandoned(abandoned)


def temporary_files_in(folder: Path) -> dict[str, str]:
    """Return variables for the environment of processes whose temporary files are to go into a directory.

    Kernels that PyTorch has compiled stay where they are, for the next start.
    """
    compiled = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or f"{tempfile.gettempdir()}/rapid-compiled-{os.getuid()}"
    return {"TMPDIR": str(folder), "TORCHINDUCTOR_CACHE_DIR": compiled}
