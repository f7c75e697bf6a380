"""A directory as an object store: atomic, durable (fsync), safe for several writers."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.contract.errors import InputError
from components.store.abandoned import remove_if_abandoned
from components.store.base import ObjectExists, ObjectInfo, Store
from components.store.files import TEMPORARY, reading, writing

_COPY_BYTES = 1 << 20


class LocalStore(Store):
    """Objects as files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = self.root.as_uri()

    def read(self, key: str) -> bytes:
        path = self._path(key)
        with reading(path):
            return path.read_bytes()

    def write(self, key: str, data: bytes) -> None:
        self._replace(key, data)

    def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with writing(path), _staged(path, data) as temporary:
            try:
                # A link, unlike a rename, fails where the name is taken.
                os.link(temporary, path)
            except FileExistsError:
                raise ObjectExists(self.locate(key)) from None

    def upload(self, path: Path, key: str) -> None:
        self._replace(key, path)

    def download(self, key: str, path: Path) -> None:
        with reading(self._path(key)):
            source = self._path(key).open("rb")
        with source, writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)

    def exists(self, key: str) -> bool:
        path = self._path(key)
        with reading(path):
            return path.is_file()

    def list(self, prefix: str) -> list[ObjectInfo]:
        directory = self._path(prefix)
        found = []
        with reading(directory):
            for folder, _, names in os.walk(directory, onerror=_unless_gone):
                for path in (Path(folder, name) for name in names if not name.startswith(TEMPORARY)):
                    with suppress(FileNotFoundError):
                        found.append(ObjectInfo(path.relative_to(self.root).as_posix(), path.stat().st_size))
        return sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with writing(path):
            path.unlink(missing_ok=True)

    def local_path(self, key: str) -> Path:
        return self._path(key)

    def check_writable(self, prefix: str) -> None:
        super().check_writable(prefix)
        for temporary in self._path(prefix).rglob(f"{TEMPORARY}*"):
            remove_if_abandoned(temporary)

    def check_reachable(self, prefix: str) -> None:
        path = self._path(prefix)
        there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
        if not there.is_dir():
            raise InputError(f"cannot write {path}: {there} is not a directory")
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
            raise InputError(f"cannot write {path}: {there} is not writable")

    def _path(self, key: str) -> Path:
        assert not key.startswith("/"), key
        assert ".." not in key.split("/"), key
        return self.root / key

    def _replace(self, key: str, source: bytes | Path) -> None:
        path = self._path(key)
        with writing(path), _staged(path, source) as temporary:
            temporary.replace(path)


@contextmanager
def _staged(path: Path, source: bytes | Path) -> Iterator[Path]:
    """Write a temporary file beside its final place and flush it; it is removed afterwards unless it was renamed."""
    _make_directory(path.parent)
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if isinstance(source, bytes):
                stream.write(source)
            else:
                with source.open("rb") as content:
                    shutil.copyfileobj(content, stream, _COPY_BYTES)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        yield temporary
        _sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _make_directory(directory: Path) -> None:
    """Like `mkdir -p`, with every new name flushed: a file is as durable as the directories above it."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
