"""The parent process of stages: it starts them, starts again what crashed, and bounds their iterations."""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from pydantic import Field

from components.contract.errors import EXIT_BAD_INPUT, InputError
from components.contract.section import Section
from components.runtime.processes import (
    PASSED_ON,
    Child,
    Started,
    adopt_orphans,
    arriving_signals,
    ended_processes,
    kill_children,
    start_child,
)
from components.runtime.progress import note
from components.runtime.scratch import scratch_directory, temporary_files_in
from components.store.attempt_logs import Outcome

SCRATCH = "rapid-processes-"
"""Kind of the directory for the temporary files of a parent's children."""

_GRACE_SECONDS = 5.0
_LOG_SECONDS = 5.0
"""The longest wait, once all children have ended, for their logs to be in the run."""


class Limits(Section):
    """The patience of a parent process with its children, and of workers with each other."""

    retries: int = Field(default=3, ge=0, description="starts after a crash, counted anew after each commit")
    backoff_seconds: float = Field(default=30.0, ge=0.0, description="delay before the first of them")
    backoff_factor: float = Field(default=2.0, ge=1.0, description="of each delay to the one before")
    max_backoff_seconds: float = Field(default=900.0, ge=0.0)
    timeout_minutes: float = Field(default=720.0, gt=0.0, description="a start or a round that takes longer is killed")
    silence_minutes: float = Field(default=30.0, gt=0.0, description="a worker that is silent for longer ends the run")

    @classmethod
    def from_json(cls, text: str) -> "Limits":
        """Parse the form that pipeline tasks pass on. Raises InputError where it is invalid."""
        try:
            return cls.parse(json.loads(text), "limits")
        except json.JSONDecodeError as error:
            raise InputError(f"limits are not JSON: {error}") from None

    def delay(self, retry: int) -> float:
        """Return the seconds before the start number `retry` after a crash, from 1."""
        return min(self.max_backoff_seconds, self.backoff_seconds * self.backoff_factor ** (retry - 1))


def run_children(
    children: Sequence[Child],
    limits: Limits,
    started: Mapping[str, Started] | None = None,
    failed: Callable[[str, str], None] | None = None,
) -> None:
    """Run children side by side until all have ended well.

    One that crashes is started again. When one fails for good the others are ended. SIGTERM, SIGINT and SIGHUP are
    passed on. The process that calls this has no other children: whatever its children leave behind it kills.

    Args:
        started: processes of children that run already, by name.
        failed: receives the name of a child that has crashed for good and how it ended, once the others have ended.

    Raises:
        SystemExit: 2 if a child refused its input, 1 if one crashed for good, 128 + its number after a signal.
    """
    adopt_orphans()
    with arriving_signals() as arrived, scratch_directory(SCRATCH) as scratch:
        # What a killed process leaves behind goes with this directory.
        children = [replace(c, environment={**temporary_files_in(scratch), **c.environment}) for c in children]
        members = [_Member(child, limits, (started or {}).get(child.name)) for child in children]
        ending = signal.SIGTERM
        try:
            while not all(member.finished for member in members):
                for member in members:
                    member.look()
                for number in _wait(members, arrived, _seconds_to_look(members)):
                    if number in PASSED_ON:
                        ending = signal.Signals(number)
                        raise SystemExit(128 + number)
                for member, status in _ended(members):
                    member.ended(status)
        except _Failed as error:
            note(f"{error.name} {error.how}; it is not started again")
            _end(members, ending, arrived)
            if failed:
                failed(error.name, error.how)
            raise SystemExit(1) from None
        finally:
            _end(members, ending, arrived)
            _end_logs(members)


class _Failed(Exception):
    """A child has crashed for good: its name, and how it ended."""

    def __init__(self, name: str, how: str) -> None:
        super().__init__(f"{name} {how}")
        self.name, self.how = name, how


class _Member:
    """A child of `run_children` with its present process."""

    def __init__(self, child: Child, limits: Limits, started: Started | None) -> None:
        self._child = child
        self._limits = limits
        self.process = started.process if started else None
        self.reports = started.reports if started else None
        self._output = started.output if started else None
        self.logs = [started.output.log] if started else []
        self.finished = False
        self._status: int | None = None  # of a process that has ended, until its log says so
        self._retries = 0
        self._overdue = False
        # Moments of time.monotonic(): its next start, and since when it has been starting or working.
        self._start_at = time.monotonic()
        self._busy_since: float | None = self._start_at

    @property
    def next_look(self) -> float | None:
        """The moment at which `look` has something to do; None if it has nothing."""
        if self.finished or self._overdue:
            return None
        if self.process is None:
            return self._start_at
        return None if self._busy_since is None else self._busy_since + 60 * self._limits.timeout_minutes

    def look(self) -> None:
        """Start the child when its time has come; kill it when its time is over."""
        moment = self.next_look
        if moment is None or time.monotonic() < moment:
            return
        if self.process:
            self._overdue = True
            self.signal(signal.SIGKILL)
        else:
            started = start_child(self._child)
            self.process, self.reports, self._output = started.process, started.reports, started.output
            self.logs = [*(log for log in self.logs if log.is_writing), started.output.log]
            self._busy_since = time.monotonic()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        # Popen's own methods would reap it.
        if self.process:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def read_reports(self) -> None:
        """Take in what the child has reported."""
        with suppress(BlockingIOError):
            while self.reports is not None:
                data = os.read(self.reports, 4096)
                for state in data.split():
                    self._busy_since = time.monotonic() if state == b"working" else None
                    if state == b"committed":
                        self._retries = 0
                if not data:
                    os.close(self.reports)
                    self.reports = None

    def close(self, status: int) -> None:
        """Take in that the process has ended."""
        assert self.process
        self.read_reports()
        if self.reports is not None:  # a process that the child has started holds it open
            os.close(self.reports)
        self.process.returncode = self._status = status
        self.process = self.reports = None

    def ended(self, status: int) -> None:
        """Decide what follows from an exit status.

        Raises:
            SystemExit: 2, it has refused its input.
            _Failed: it is not started again.
        """
        how = _how(status)
        if self._overdue:
            how = f"worked for {self._limits.timeout_minutes:.3g} min without a commit and was killed"
            self._overdue = False
        again = status not in (0, EXIT_BAD_INPUT) and self._retries < self._limits.retries
        outcome: Outcome = "succeeded" if status == 0 else "crashed" if again else "failed"
        reason = self._end_log(status, how, outcome)
        if status == EXIT_BAD_INPUT:
            raise SystemExit(EXIT_BAD_INPUT)
        if status == 0:
            self.finished = True
            return
        if reason != how:  # what it has said itself
            how += f" ({reason})"
        if not again:
            starts = self._retries + 1
            raise _Failed(self._child.name, how + (f", after {starts} starts without a commit" if starts > 1 else ""))
        self._retries += 1
        delay = self._limits.delay(self._retries)
        self._start_at = time.monotonic() + delay
        note(f"{self._child.name} {how}; started again ({self._retries} of {self._limits.retries}) in {delay:.3g} s")

    def end_log(self) -> None:
        """End the log of a process that was ended from here, or together with the one that ended all."""
        if self._status is not None:
            self._end_log(self._status, f"{_how(self._status)} with its parent process or another stage", "stopped")

    def _end_log(self, status: int, how: str, outcome: Outcome) -> str:
        assert self._output
        self._status = None
        return self._output.end(status, how, outcome)


def _how(status: int) -> str:
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"


def _seconds_to_look(members: Sequence[_Member]) -> float | None:
    moments = [moment for member in members if (moment := member.next_look) is not None]
    return max(0.0, min(moments) - time.monotonic()) if moments else None


def _wait(members: Sequence[_Member], arrived: int, seconds: float | None) -> bytes:
    """Wait for a report, a signal or the end of so many seconds; return the numbers of the signals."""
    reporting = {member.reports: member for member in members if member.reports is not None}
    poll = select.poll()
    for descriptor in (arrived, *reporting):
        poll.register(descriptor, select.POLLIN)
    for descriptor, _ in poll.poll(None if seconds is None else 1000 * seconds + 1):
        if descriptor in reporting:
            reporting[descriptor].read_reports()
    with suppress(BlockingIOError):
        return os.read(arrived, 4096)
    return b""


def _ended(members: Sequence[_Member]) -> list[tuple[_Member, int]]:
    """Return the members whose process has ended, with its exit status; what they have left behind is dead then."""
    running = {member.process.pid: member for member in members if member.process}
    ended = [(running.pop(pid), status) for pid, status in ended_processes() if pid in running]
    for member, status in ended:
        member.close(status)
    if ended:
        kill_children(spared=set(running))
    return ended


def _end(members: Sequence[_Member], number: signal.Signals, arrived: int) -> None:
    """End every process below this one: by a signal, and by SIGKILL what is still there after some seconds."""
    for member in members:
        member.signal(number)
        for log in member.logs:
            log.write_now()  # a pod may end at any moment
    deadline = time.monotonic() + _GRACE_SECONDS
    while any(member.process for member in members) and (seconds := deadline - time.monotonic()) > 0:
        _wait(members, arrived, seconds)
        _ended(members)
    kill_children(spared=set())
    for member in members:
        if member.process:
            member.close(-signal.SIGKILL)


def _end_logs(members: Sequence[_Member]) -> None:
    """End what logs are open, and wait a while until all are in the run."""
    for member in members:
        member.end_log()
    deadline = time.monotonic() + _LOG_SECONDS
    for member in members:
        for log in member.logs:
            log.wait(deadline - time.monotonic())
