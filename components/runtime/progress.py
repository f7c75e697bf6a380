"""Progress of long work, for a person, a log or the runner that started the stage."""

import json
import os
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from components.contract.printable import printable

EVENTS_VARIABLE = "RAPID_EVENTS"
"""Set by the local runner: progress then goes to standard output as one JSON object a line."""

_LOG_EVERY_SECONDS = 15.0
_EVENT_EVERY_SECONDS = 0.25


def emit(kind: str, **fields: object) -> bool:
    """Send an event to the runner that started this process; return False without one."""
    if not os.environ.get(EVENTS_VARIABLE):
        return False
    # One write, which other processes' lines on the same pipe cannot interrupt.
    sys.stdout.write(json.dumps({"rapid": kind, **fields}) + "\n")
    sys.stdout.flush()
    return True


def read_event(line: str) -> dict[str, Any] | None:
    """Return the event in a line of output; None where it has none."""
    start = line.find('{"rapid": ')
    if start < 0:
        return None
    try:
        event = json.loads(line[start:])
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


def note(text: str) -> None:
    """Show one line to the person or runner that watches."""
    if not emit("note", text=text):
        print(printable(text), file=sys.stderr, flush=True)


def begin_round(label: str) -> None:
    """Leave a line in the log that tells where a round begins, such as `iteration 0003 rollout shard 1 begins`."""
    if not emit("round", label=label):
        print(f"{label} begins", file=sys.stderr, flush=True)


class StageProgress:
    """A bar on a terminal, events under the local runner, a log line every 15 s anywhere else.

    Use as a context manager; call `update(done, **stats)` as often as convenient.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self._begin = time.monotonic()
        self._last = self._begin
        self._sent = 0
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if not os.environ.get(EVENTS_VARIABLE) and sys.stderr.isatty():
            from rich.console import Console

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[stats]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self.label, total=self.total, stats=self.unit)
            self._bar.start()
        self._send(0, "")
        return self

    def update(self, done: int, stats: str = "") -> None:
        """`stats` is a short text such as `3,412 tokens/s`."""
        if self._bar:
            self._bar.update(self._task, completed=done, stats=stats or self.unit)
            return
        every = _EVENT_EVERY_SECONDS if os.environ.get(EVENTS_VARIABLE) else _LOG_EVERY_SECONDS
        ended = done == self.total != self._sent
        if ended or time.monotonic() - self._last >= every:
            self._send(done, stats)

    def end(self, done: int, stats: str = "") -> None:
        """Show that no more is to be done than what is, where that is less than was announced."""
        self.total = done
        if self._bar:
            self._bar.update(self._task, completed=done, total=done, stats=stats or self.unit)
        else:
            self._send(done, stats)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def _send(self, done: int, stats: str) -> None:
        self._last, self._sent = time.monotonic(), done
        sent = emit("progress", label=self.label, done=done, total=self.total, unit=self.unit, stats=stats)
        if not sent and not self._bar and done:
            seconds = time.monotonic() - self._begin
            line = f"{self.label}: {done}/{self.total} {self.unit} in {seconds:.0f} s"
            print(", ".join(filter(None, [line, stats])), file=sys.stderr, flush=True)
