"""The interface every object store has."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from components.contract.errors import InputError


class ObjectMissing(InputError):
    """The object does not exist."""


class StoreUnavailable(InputError):
    """Object storage does not answer, or cannot do its work now; later it may."""


class ObjectExists(Exception):
    """A create-only write found an object already there."""


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size: int


class Store(ABC):
    """Flat keys (`a/b/c`, no leading slash) to bytes.

    Every write is atomic: a reader sees the whole new object or none of it. What a user can fix (missing
    rights, wrong credentials, no bucket, a full disk) is raised as InputError.
    """

    uri: str
    """URI of the store, without a trailing slash; never holds credentials."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return the object's bytes. Raises ObjectMissing."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Create or replace an object."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Create an object; of several that try at once exactly one succeeds. Raises ObjectExists."""

    @abstractmethod
    def upload(self, path: Path, key: str) -> None:
        """Create or replace an object from a file of any size."""

    @abstractmethod
    def download(self, key: str, path: Path) -> None:
        """Write an object into a file, whose parent directories are made. Raises ObjectMissing."""

    @abstractmethod
    def exists(self, key: str) -> bool: ...

    @abstractmethod
    def list(self, prefix: str) -> list[ObjectInfo]:
        """Return all objects below the directory `prefix`, sorted by key."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; a missing one is not an error."""

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """Return the path of the object or directory on this machine, None for a remote store."""

    def locate(self, key: str) -> str:
        """Return the object's URI, for messages, manifests and other programs."""
        return f"{self.uri.removesuffix('/')}/{key}"

    def check_reachable(self, prefix: str) -> None:
        """Raise InputError where the store is unreachable or evidently not writable below `prefix`; write nothing.

        Rights that only a write can show are left to `check_writable`.
        """
        self.list(prefix)

    def check_writable(self, prefix: str) -> None:
        """Write and remove a small object below `prefix`, so that a run fails before its work and not after.

        Raises:
            InputError: it cannot be written, or the server overwrites it in spite of a condition: two workers could
                then commit the same output.
        """
        probe = f"{prefix}/.write-check"
        try:
            # Another start of the run may remove its own probe in between, so that one more succeeds; not a third.
            for number in range(3):
                self.create(probe, str(number).encode())
        except ObjectExists:
            return
        finally:
            self.delete(probe)
        raise InputError(
            f"store.uri must name a store with conditional writes, such as AWS S3, MinIO or Ceph RGW (the server of "
            f"{self.uri} ignores If-None-Match and overwrites objects, so a stage could be committed twice)"
        )
