"""The log of one attempt, on its way into the run.

A thread of its own writes it every few seconds. A store that is away delays and fails nothing: what fits into the log
is kept in memory until then, and dropped when the process ends.
"""

import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from components.contract.credentials import secret_values
from components.contract.errors import EXIT_BAD_INPUT, InputError
from components.contract.manifest import now
from components.runtime.log_lines import LogLines
from components.store import Store, split_run_uri
from components.store.attempt_logs import (
    LogPlace,
    LogRecord,
    Outcome,
    attempts,
    claim_log,
    discard_attempt,
    end_log,
    segment_key,
)

WRITE_SECONDS = 10.0
SEGMENT_BYTES = 256 << 10
MOST_SEGMENTS = 32
"""An attempt's log has at most 8 MiB: the first and the last 4."""

_REFUSAL_SECONDS = 5.0
_KEPT_BYTES = 64 << 20
"""Logs of earlier attempts of a stage and shard that are kept."""


@dataclass
class _Segment:
    offset: int
    data: bytearray = field(default_factory=bytearray)
    written: int = 0

    @property
    def is_changed(self) -> bool:
        return len(self.data) > self.written


@dataclass(frozen=True)
class _Claimed:
    store: Store
    key: str
    record: LogRecord


@dataclass(frozen=True)
class _End:
    status: int
    reason: str
    outcome: Outcome


class LogWriter:
    """Takes an attempt's lines at any time, and keeps them in the run from `keep` on."""

    def __init__(self) -> None:
        self._started = now()
        self._segments = [_Segment(0)]
        self._left_out: list[int] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._end: _End | None = None
        self._thread: threading.Thread | None = None

    def append(self, lines: bytes) -> None:
        """Add whole lines; where the log is full the first segment of its second half goes."""
        with self._lock:
            last = self._segments[-1]
            if last.data and len(last.data) + len(lines) > SEGMENT_BYTES:
                self._segments.append(_Segment(last.offset + len(last.data)))
                if len(self._segments) > MOST_SEGMENTS:
                    self._left_out.append(self._segments.pop(MOST_SEGMENTS // 2).offset)
            self._segments[-1].data += lines

    def keep(self, place: LogPlace) -> None:
        """Begin to write into the run."""
        self._thread = threading.Thread(target=self._run, args=(place,), name="log", daemon=True)
        self._thread.start()

    def write_now(self) -> None:
        """Do not wait for the next write: there may be little time."""
        self._wake.set()

    def end(self, status: int, reason: str, outcome: Outcome) -> None:
        """Write what is left, and how the attempt ended."""
        self._end = _End(status, reason, outcome)
        self._wake.set()

    @property
    def is_writing(self) -> bool:
        """True while there is something to wait for."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait until that is written, or given up."""
        if self._thread:
            self._thread.join(max(0.0, seconds))

    def _run(self, place: LogPlace) -> None:
        claimed: _Claimed | None = None
        while True:
            end = self._end
            with suppress(InputError):
                claimed = claimed or _claim(place, self._started)
                self._write(claimed)
                if end:
                    end_log(claimed.store, claimed.key, claimed.record, end.status, end.reason, end.outcome)
            if end:
                return
            self._wake.wait(WRITE_SECONDS)
            self._wake.clear()

    def _write(self, claimed: _Claimed) -> None:
        with self._lock:
            changed = [(segment, bytes(segment.data)) for segment in self._segments if segment.is_changed]
        for segment, data in changed:
            claimed.store.write(segment_key(claimed.key, segment.offset), data)
            segment.written = len(data)
        while self._left_out:
            claimed.store.delete(segment_key(claimed.key, self._left_out[0]))
            self._left_out.pop(0)


def _claim(place: LogPlace, started: datetime) -> _Claimed:
    """Claim the next attempt of a stage's logs, and delete the oldest ones beyond `_KEPT_BYTES`."""
    store, layout = split_run_uri(place.run_uri, patient=False)
    host = os.environ.get("KFP_POD_NAME") or socket.gethostname()
    key, record = claim_log(store, place, layout, host, started)
    directory = key.rpartition("/")[0]
    total = 0
    for number, size in reversed(attempts(store, directory)):
        total += size
        if total > _KEPT_BYTES:
            discard_attempt(store, directory, number)
    return _Claimed(store, key, record)


def leave_refusal(place: LogPlace, error: InputError) -> None:
    """Leave the log of an attempt that its parent process refuses to start, if the store answers soon."""
    writer, lines = LogWriter(), LogLines(secret_values(os.environ))
    writer.append(lines.line(f"error: {error}".encode()))
    writer.keep(place)
    writer.end(EXIT_BAD_INPUT, lines.reason(EXIT_BAD_INPUT), "failed")
    writer.wait(_REFUSAL_SECONDS)
