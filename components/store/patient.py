"""A store that waits where nobody watches: an outage of minutes must not end a run of days."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from components.contract.errors import InputError
from components.store.base import ObjectExists, ObjectInfo, Store, StoreUnavailable

PATIENCE_VARIABLE = "RAPID_PATIENCE_MINUTES"
"""Minutes to wait for a server that does not answer; by default 10 in a pod, and not at all elsewhere."""

_IN_A_POD = "KUBERNETES_SERVICE_HOST"
_POD_MINUTES = "10"
_PAUSE_SECONDS, _MOST_SECONDS = 1.0, 15.0

Result = TypeVar("Result")


def patience_seconds() -> float:
    """Return how long this process waits for a server. Raises InputError where the variable is not a number."""
    default = _POD_MINUTES if os.environ.get(_IN_A_POD) else "0"
    minutes = os.environ.get(PATIENCE_VARIABLE) or default
    try:
        return 60 * float(minutes)
    except ValueError:
        raise InputError(f"{PATIENCE_VARIABLE} must be a number of minutes (got {minutes!r})") from None


class PatientStore(Store):
    """Repeats what another store could not do for lack of an answer, for so many seconds.

    What waiting does not fix (wrong keys, no bucket, bad certificates) is raised at once.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        self.uri = store.uri

    def read(self, key: str) -> bytes:
        return patiently(self.uri, self._seconds, lambda: self._store.read(key))

    def write(self, key: str, data: bytes) -> None:
        patiently(self.uri, self._seconds, lambda: self._store.write(key, data))

    def create(self, key: str, data: bytes) -> None:
        tries = 0

        def create() -> None:
            nonlocal tries
            tries += 1
            try:
                self._store.create(key, data)
            except ObjectExists:
                # An earlier try may have succeeded although its answer was lost.
                if tries == 1 or self._store.read(key) != data:
                    raise

        patiently(self.uri, self._seconds, create)

    def upload(self, path: Path, key: str) -> None:
        patiently(self.uri, self._seconds, lambda: self._store.upload(path, key))

    def download(self, key: str, path: Path) -> None:
        patiently(self.uri, self._seconds, lambda: self._store.download(key, path))

    def exists(self, key: str) -> bool:
        return patiently(self.uri, self._seconds, lambda: self._store.exists(key))

    def list(self, prefix: str) -> list[ObjectInfo]:
        return patiently(self.uri, self._seconds, lambda: self._store.list(prefix))

    def delete(self, key: str) -> None:
        patiently(self.uri, self._seconds, lambda: self._store.delete(key))

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)


def patiently(server: str, seconds: float, use: Callable[[], Result]) -> Result:
    """Return what `use` returns, once it does; what it waits for is said once.

    Args:
        server: name of what answers, for messages.

    Raises:
        StoreUnavailable: as `use` did, when so many seconds are over.
    """
    began, pause = time.monotonic(), _PAUSE_SECONDS
    waiting = False
    while True:
        try:
            result = use()
        except StoreUnavailable as error:
            waited = time.monotonic() - began
            if waited + pause > seconds:
                raise StoreUnavailable(f"{error} (waited for {waited / 60:.0f} min)") from None
            if not waiting:
                _say(f"{error}; waiting for it, up to {seconds / 60:g} min")
            waiting = True
            time.sleep(pause)
            pause = min(_MOST_SECONDS, 2 * pause)
        else:
            if waiting:
                _say(f"{server} answers again after {time.monotonic() - began:.0f} s")
            return result


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
