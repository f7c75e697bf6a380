"""The logs of a run as text: a line for each attempt, then what it wrote, filtered and followed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from components.contract.layout import Round
from components.store.attempt_logs import AttemptLog, LogRecord

_BEGINS = re.compile(r"[-\d]+ [:\d]+ (iteration|evaluation) (\d+) \w+(?: shard (\d+))? begins")
"""The line with which a worker begins a round."""


@dataclass(frozen=True)
class Wanted:
    """The part of a run's logs to show: of one shard or iteration; None for all."""

    shard: int | None = None
    iteration: int | None = None

    def may_have(self, record: LogRecord) -> bool:
        """Return whether an attempt can hold something of it."""
        other_shard = self.shard is not None and record.shard not in (None, self.shard)
        other_round = self.iteration and record.round not in (None, str(Round.iteration(self.iteration)))
        return not (other_shard or other_round)


class LogView:
    """Shows the logs of a run; again, only what is new."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._shown: dict[str, _Shown] = {}
        self._last: _Shown | None = None

    def lines(self, logs: list[AttemptLog]) -> Iterator[str]:
        """Yield what is new in logs in the order in which they began. Raises InputError."""
        newest = {log.worker: log.key for log in logs}
        for log in logs:
            if not self._wanted.may_have(log.record):
                continue
            shown = self._shown.setdefault(log.key, _Shown(self._wanted, log.record))
            lines = list(shown.new(log))
            line = headline(log.record, newest[log.worker] == log.key)
            is_new = line != shown.headline and not shown.is_part
            if not (lines or is_new):
                continue
            ends = is_new and shown.headline and self._last is shown
            if not ends and (line != shown.headline or self._last is not shown):
                yield line
            yield from lines
            if ends:
                yield line
            shown.headline, self._last = line, shown


class _Shown:
    """The log of an attempt, as far as it was shown."""

    def __init__(self, wanted: Wanted, record: LogRecord) -> None:
        self._wanted = wanted
        self._offset = 0
        self.headline = ""
        # Of a process that works on several rounds, or shards, those that are wanted.
        self.is_part = (wanted.iteration is not None and record.round is None) or (
            wanted.shard is not None and record.shard is None
        )
        self._inside = not self.is_part

    def new(self, log: AttemptLog) -> Iterator[str]:
        for line in log.text(self._offset):
            if self.is_part and (begins := _BEGINS.fullmatch(line)):
                self._inside = self._is_wanted(*begins.groups())
            if self._inside:
                yield line
        self._offset = log.size

    def _is_wanted(self, kind: str, number: str, shard: str | None) -> bool:
        wanted = self._wanted
        if wanted.iteration is not None and (kind, int(number)) != ("iteration", wanted.iteration):
            return False
        return wanted.shard is None or int(shard or 0) == wanted.shard


def headline(record: LogRecord, is_newest: bool) -> str:
    """Return a line such as `== reward, shard 0, iteration 2, attempt 1: began ... on HOST, succeeded after 34 s`."""
    words: list[str] = [record.stage]
    if record.shard is not None:
        words.append(f"shard {record.shard}")
    if record.round:
        round_ = Round.parse(record.round)
        words.append(f"{round_.kind} {round_.number}")
    words.append(f"attempt {record.attempt}")
    began = f"began {record.started:%Y-%m-%d %H:%M:%S} UTC on {record.host}"
    return f"== {', '.join(words)}: {began}, {_end(record, is_newest)}"


def _end(record: LogRecord, is_newest: bool) -> str:
    if record.outcome is None or record.ended is None:
        return "has not said how it ended" if is_newest else "was killed"
    seconds = (record.ended - record.started).total_seconds()
    after = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{record.outcome} after {after}" + (f": {record.reason}" if record.reason else "")


def has_ended(logs: list[AttemptLog]) -> bool:
    """Return whether a run has ended, as far as its logs say: it is published, or a stage has failed for good."""
    newest = {log.worker: log.record for log in logs}
    began = max((r.started for r in newest.values() if r.stage == "prepare"), default=None)
    return any(
        record.outcome == "failed" or (record.stage == "publish" and record.outcome == "succeeded")
        for record in newest.values()
        if began is None or record.started >= began
    )


def followed(
    read: Callable[[], list[AttemptLog]], view: LogView, has_ended: Callable[[], bool], wait: Callable[[], None]
) -> Iterator[str]:
    """Yield what is new until the run has ended. Raises InputError."""
    while True:
        ended = has_ended()  # asked first, so that what was written before its end is shown
        yield from view.lines(read())
        if ended:
            return
        wait()
