"""The logs of a run: of each start of a stage a record, and its output in segments named by their offset.

    workers/<stage>[-<shard>]/log/attempt-0003/record.json
                                              /000000000000.txt
                                              /000000262144.txt

A gap between two segments is text that was left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from components.contract.layout import Round, RunLayout, attempt_name, attempt_number
from components.contract.manifest import now
from components.contract.section import StageName
from components.store.base import ObjectExists, ObjectMissing, Store

Outcome = Literal["succeeded", "crashed", "failed", "stopped"]

_RECORD = "record.json"
_SEGMENT = ".txt"


class LogRecord(BaseModel):
    """One start of a stage's process.

    Attributes:
        round: the one round that it works on, None for a worker.
        attempt: from 1, counted for each stage and shard.
        host: name of the pod or machine.
        status: exit status, negative for a signal; None before its end, and for ever where its parent was killed too.
        reason: why it ended, in one line; empty if it ended well.
        outcome: crashed, it is started again; failed, it is not; stopped, its parent process ended it, because it was
            ended itself, or another stage had failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    stage: StageName
    shard: int | None = None
    round: str | None = None
    attempt: int
    host: str
    started: datetime
    ended: datetime | None = None
    status: int | None = None
    reason: str = ""
    outcome: Outcome | None = None


@dataclass(frozen=True)
class LogPlace:
    """The run, stage and shard whose output is kept; `round_` for a process that works on one round only."""

    run_uri: str
    stage: StageName
    shard: int | None = None
    round_: Round | None = None


@dataclass(frozen=True)
class AttemptLog:
    """The log of one attempt as it was when it was found."""

    store: Store
    key: str
    record: LogRecord
    segments: tuple[tuple[int, int], ...]
    """(offset, size) of each, in bytes."""

    @property
    def worker(self) -> str:
        """The name of the stage's and shard's directory, such as `rollout-001`."""
        return self.key.split("/")[-3]

    @property
    def size(self) -> int:
        """Bytes that were written so far, with those left out."""
        return sum(self.segments[-1]) if self.segments else 0

    def text(self, after: int = 0) -> Iterator[str]:
        """Yield the lines behind an offset, and one in place of each gap. Raises InputError, not ObjectMissing."""
        position = after
        for offset, size in self.segments:
            if offset + size <= position:
                continue
            try:
                data = self.store.read(segment_key(self.key, offset))[:size]
            except ObjectMissing:  # left out since it was listed
                continue
            if offset > position:
                yield f"[{offset - position:,} bytes are left out here]"
                position = offset
            yield from data[position - offset :].decode(errors="replace").splitlines()
            position = offset + size


def segment_key(attempt: str, offset: int) -> str:
    return f"{attempt}/{offset:012d}{_SEGMENT}"


def claim_log(store: Store, place: LogPlace, layout: RunLayout, host: str, started: datetime) -> tuple[str, LogRecord]:
    """Claim the next attempt of a stage's logs; return its directory and record."""
    directory = layout.log(place.stage, place.shard)
    number = max((number for number, _ in attempts(store, directory)), default=0) + 1
    while True:
        key = f"{directory}/{attempt_name(number)}"
        record = LogRecord(
            stage=place.stage,
            shard=place.shard,
            round=str(place.round_) if place.round_ else None,
            attempt=number,
            host=host,
            started=started,
        )
        try:
            store.create(f"{key}/{_RECORD}", record.model_dump_json().encode())
        except ObjectExists:
            number += 1
        else:
            return key, record


def end_log(store: Store, key: str, record: LogRecord, status: int, reason: str, outcome: Outcome) -> None:
    """Note how an attempt ended."""
    ended = record.model_copy(update={"ended": now(), "status": status, "reason": reason, "outcome": outcome})
    store.write(f"{key}/{_RECORD}", ended.model_dump_json().encode())


def attempts(store: Store, directory: str) -> list[tuple[int, int]]:
    """Return (number, bytes) of each attempt in a directory of logs, the oldest first."""
    sizes: dict[int, int] = {}
    for info in store.list(directory):
        name, _, _ = info.key.removeprefix(f"{directory}/").partition("/")
        if (number := attempt_number(name)) is not None:
            sizes[number] = sizes.get(number, 0) + info.size
    return sorted(sizes.items())


def discard_attempt(store: Store, directory: str, number: int) -> None:
    """Delete the log of an attempt."""
    for info in store.list(f"{directory}/{attempt_name(number)}"):
        store.delete(info.key)


def read_logs(store: Store, layout: RunLayout, stage: StageName | None = None) -> list[AttemptLog]:
    """Return the logs of a run, or of one stage, in the order in which the attempts began. Raises InputError."""
    found: dict[str, list[tuple[int, int]]] = {}
    for info in store.list(layout.workers):
        attempt, _, name = info.key.rpartition("/")
        worker, separator, _ = attempt.removeprefix(f"{layout.workers}/").partition("/log/")
        if separator and (stage is None or worker.partition("-")[0] == stage):
            segments = found.setdefault(attempt, [])
            if name.endswith(_SEGMENT):
                segments.append((int(name.removesuffix(_SEGMENT)), info.size))
    logs = []
    for key, segments in found.items():
        try:
            record = LogRecord.model_validate_json(store.read(f"{key}/{_RECORD}"))
        except (ObjectMissing, ValidationError):  # being deleted, or of another version
            continue
        logs.append(AttemptLog(store, key, record, tuple(segments)))
    return sorted(logs, key=lambda log: log.record.started)


def failed_attempt(store: Store, layout: RunLayout, since: datetime) -> LogRecord | None:
    """Return the first stage that has failed for good in a start of the run, None if none has. Raises InputError.

    Args:
        since: when the run was started.
    """
    newest = {log.worker: log.record for log in read_logs(store, layout)}
    failed = [record for record in newest.values() if record.outcome == "failed" and record.started >= since]
    return min(failed, key=lambda record: record.ended or record.started, default=None)
