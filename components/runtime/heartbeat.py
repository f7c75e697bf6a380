"""The heartbeat of a worker: a small object in the run that says that it lives, and what it does."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from components.contract.errors import InputError
from components.contract.manifest import now
from components.store import Attempt, ObjectMissing, Store

State = Literal["starting", "waiting", "working", "ended"]

BEAT_SECONDS = 5.0
_PAUSE_SECONDS = 0.5
_AWAY_SECONDS = 120.0
"""The longest time between two looks at heartbeats of a reader that reaches the store."""

_NAME = "heartbeat.json"


class Beat(BaseModel):
    """A worker's words about itself.

    Attributes:
        count: grows with every write. Readers time its changes on their own clock, because clocks differ.
        detail: what it waits for, or the round that it works on.
        started: when the process of this attempt began.
        loaded: when it had loaded everything that stays loaded; None before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    attempt: int
    count: int
    state: State
    detail: str
    started: datetime
    loaded: datetime | None = None


class Heartbeat:
    """Writes the beats of one process from a thread: at every change of state, and every few seconds.

    A store that does not answer delays a beat and fails nothing; the work itself finds out. Use as a context manager;
    only one that is left without an exception has ended, because what crashed is started again.

    Args:
        attempts: the worker's attempts, one for each shard that it serves; none where another process speaks for it.
        age: seconds since the worker's process began.
    """

    def __init__(self, attempts: Sequence[Attempt], age: float = 0.0) -> None:
        self._attempts = attempts
        started = now() - timedelta(seconds=age)
        self._beat = Beat(
            attempt=attempts[0].number if attempts else 0, count=0, state="starting", detail="", started=started
        )
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._changed.set()
        self._thread.join()
        if kind is None:
            self.say("ended")
            self._write()

    def say(self, state: State, detail: str = "") -> None:
        """Set what the next beat says."""
        self._update(state=state, detail=detail)

    def loaded(self) -> None:
        """Note that everything that stays loaded is there."""
        if self._beat.loaded is None:
            self._update(loaded=now())

    def _update(self, **changes: object) -> None:
        with self._lock:
            self._beat = self._beat.model_copy(update=changes)
        self._changed.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._changed.clear()
            self._write()
            self._changed.wait(BEAT_SECONDS)
            # Short states are not worth a write each.
            self._ended.wait(_PAUSE_SECONDS)

    def _write(self) -> None:
        with self._lock:
            said = self._beat = self._beat.model_copy(update={"count": self._beat.count + 1})
        for attempt in self._attempts:
            with suppress(InputError):
                attempt.require_newest()  # the place belongs to the newest
                beat = said.model_copy(update={"attempt": attempt.number})
                attempt.store.write(f"{attempt.directory}/{_NAME}", beat.model_dump_json().encode())


def read_beat(store: Store, worker: str) -> Beat | None:
    """Return the last beat in a worker's directory, None where there is none."""
    try:
        return Beat.model_validate_json(store.read(f"{worker}/{_NAME}"))
    except (ObjectMissing, ValidationError):
        return None


class Silence:
    """The seconds for which workers have been silent, on this process's clock.

    The time for which this process did not reach the store, or did not look, counts for nobody.
    """

    def __init__(self, store: Store, workers: Sequence[str]) -> None:
        self._store, self._workers = store, workers
        moment = time.monotonic()
        self._heard: dict[str, tuple[tuple[int, int] | None, float]] = dict.fromkeys(workers, (None, moment))
        self._looked = moment

    def look(self) -> tuple[float, str, Beat | None]:
        """Return the seconds of silence of the worker that has been silent longest, its directory and last beat."""
        return max(self.each(), key=lambda item: item[0])

    def each(self) -> list[tuple[float, str, Beat | None]]:
        """Return the same for every worker."""
        beats = [(worker, read_beat(self._store, worker)) for worker in self._workers]
        moment = time.monotonic()
        away = moment - self._looked if moment - self._looked > _AWAY_SECONDS else 0.0
        self._looked = moment
        found: list[tuple[float, str, Beat | None]] = []
        for worker, beat in beats:
            mark = (beat.attempt, beat.count) if beat else None
            before, since = self._heard[worker]
            self._heard[worker] = (mark, since + away if mark == before else moment)
            found.append((moment - self._heard[worker][1], worker, beat))
        return found
