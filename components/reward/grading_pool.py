"""The pool of grading processes, and the time limit on every completion."""

import json
import math
import selectors
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Self

from components.contract.errors import InputError
from components.reward.grader_lookup import Grader
from components.reward.grading_process import START_SECONDS, GradingProcess
from components.reward.score import Outcome
from components.runtime.cores import usable_cores

_CHUNK = 16
_POLL_SECONDS = 0.5
_SLOW_SECONDS = 0.05
# A process that grades in batches stops late completions itself, and needs time to report them.
_GRACE_SECONDS = 1.0
_MOST_KILLED = 3
_NOT_IMPORTED = f"not imported after {START_SECONDS:.0f} s"


class GradingTask(NamedTuple):
    """One completion to grade; `metadata` is a JSON object as text."""

    prompt: str
    completion: str
    answer: str | None
    metadata: str


class GraderPool:
    """Grading processes that take completions in small chunks, and from each other when none are left.

    A completion that takes longer than `time_limit` seconds has the status timeout, and its process is killed with its
    children and replaced. One whose process dies is graded once more, alone in a process: something else may have
    killed the first. If that process dies too, its status is error. All others are graded as usual, those of the same
    chunk by other processes. Where a process that grades up to `batch_size` completions at once hangs or dies, each of
    them is tried again alone. Once a process has loaded the graders, others that cannot are replaced too. The processes
    die with this one. Use as a context manager, from one thread.

    Raises, when entered:
        InputError: a grader cannot be imported or does not take its options, or processes are killed again and again.
    """

    def __init__(self, graders: Sequence[Grader], workers: int, time_limit: float, batch_size: int = _CHUNK) -> None:
        self.graders = graders
        self.versions: list[str] = []
        self._time_limit = time_limit
        self._batch_size = batch_size
        self._count = workers or usable_cores()
        greeting = {"graders": [asdict(grader) for grader in graders], "time_limit": time_limit}
        self._greeting = json.dumps(greeting).encode() + b"\n"
        self._selector = selectors.DefaultSelector()
        self._processes: list[GradingProcess] = []
        self._waiting: deque[int] = deque()
        self._alone: set[int] = set()
        self._survived: set[int] = set()
        """Tasks whose process has died once."""
        self._killed = 0
        """Completions that have lost two processes to SIGKILL, and starts that failed, in this call of `grade`."""
        self._first = 0
        """Number of the first task of this call of `grade`; numbers are never used again, because a task that was
        graded twice may be answered during the next call."""

    def __enter__(self) -> Self:
        try:
            for _ in range(self._count):
                self._start()
            while not self.versions:
                for process in self._readable():
                    if self._receive(process) is None:
                        self._replace(process, died=True)
                if any(process.overdue() for process in self._processes):
                    self._refuse(_NOT_IMPORTED)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for process in list(self._processes):
            self._stop(process)
        self._selector.close()

    def grade(self, tasks: Sequence[GradingTask]) -> Iterator[tuple[int, Outcome]]:
        """Yield index and outcome of every task, in the order in which they finish.

        Raises:
            InputError: processes are killed again and again, as where memory runs out.
        """
        self._waiting = deque(range(self._first, self._first + len(tasks)))
        self._alone, self._survived = set(), set()
        self._killed = 0
        unfinished = set(self._waiting)
        try:
            for number, outcome in self._grade(tasks, unfinished):
                yield number - self._first, outcome
        finally:
            self._first += len(tasks)

    def _grade(self, tasks: Sequence[GradingTask], unfinished: set[int]) -> Iterator[tuple[int, Outcome]]:
        while unfinished:
            self._assign(tasks)
            ended = []
            for process in self._readable():
                replies = self._receive(process)
                if replies is None:
                    ended.append(process)
                    continue
                for index, *outcome in replies:
                    process.remove(index)
                    # A task that was recalled too late is graded twice.
                    if index in unfinished:
                        unfinished.remove(index)
                        yield index, Outcome(*outcome)
            for process in [p for p in self._processes if p in ended or p.overdue()]:
                blamed, failure = self._replace(process, died=process in ended or process.exited())
                if blamed in unfinished:
                    unfinished.remove(blamed)
                    yield blamed, failure

    def _assign(self, tasks: Sequence[GradingTask]) -> None:
        idle = [p for p in self._processes if p.idle]
        if idle and not self._waiting:
            self._steal()
        for process in idle:
            chunk = self._chunk(process.prefers_batches)
            if not chunk:
                return
            process.set_deadline(self._limit(process))
            if not process.give([(index, *tasks[index - self._first]) for index in chunk]):
                self._waiting.extendleft(reversed(process.assigned))
                process.assigned.clear()
                self._replace(process, died=True)

    def _chunk(self, prefers_batches: bool) -> list[int]:
        """Take the next tasks for one process; chunks shrink towards the end, so that all processes stay busy."""
        share = len(self._waiting) / self._count
        size = min(self._batch_size, math.ceil(share)) if prefers_batches else min(_CHUNK, math.ceil(share / 2))
        chunk: list[int] = []
        while self._waiting and len(chunk) < size and not (chunk and self._waiting[0] in self._alone):
            chunk.append(self._waiting.popleft())
            if chunk[0] in self._alone:
                break
        return chunk

    def _steal(self) -> None:
        """Take back the tasks that wait behind the slowest completion."""
        moment = time.monotonic() - _SLOW_SECONDS
        slow = [p for p in self._processes if not p.prefers_batches and len(p.assigned) > 1 and p.since < moment]
        if slow:
            self._waiting.extend(min(slow, key=lambda p: p.since).recall())

    def _receive(self, process: GradingProcess) -> list[list[Any]] | None:
        """Return the outcomes that have arrived, and extend the deadline; None where the process has ended."""
        replies = process.receive()
        if replies is None:
            if not process.ready and not self.versions and not process.was_killed():
                self._refuse(f"the grading process ended during the import ({process.ending()})")
            return None
        if replies and not process.ready:
            greeting = replies.pop(0)
            if "failed" in greeting:
                process.failure = greeting["failed"]
                if not self.versions:
                    self._refuse(process.failure)
                return None
            process.ready = True
            process.prefers_batches = greeting["prefers_batches"]
            self.versions = greeting["versions"]
        if replies:
            process.set_deadline(self._limit(process))
        outcomes = [reply for reply in replies if isinstance(reply, list)]
        if len(outcomes) < len(replies):
            process.recalled.clear()
        return outcomes

    def _limit(self, process: GradingProcess) -> float:
        return self._time_limit + (_GRACE_SECONDS if process.prefers_batches else 0.0)

    def _readable(self) -> list[GradingProcess]:
        now = time.monotonic()
        patience = min([_POLL_SECONDS, *(p.deadline - now for p in self._processes if p.busy)])
        if not self._waiting and any(p.idle for p in self._processes):
            patience = min(patience, _SLOW_SECONDS)
        return [key.data for key, _ in self._selector.select(max(0.0, patience))]

    def _refuse(self, reason: str) -> None:
        raise InputError(f"reward.graders cannot be loaded: {reason}")

    def _start(self) -> None:
        process = GradingProcess(self._greeting)
        self._processes.append(process)
        self._selector.register(process.stdout, selectors.EVENT_READ, process)

    def _stop(self, process: GradingProcess) -> None:
        self._selector.unregister(process.stdout)
        self._processes.remove(process)
        process.kill()

    def _replace(self, process: GradingProcess, died: bool) -> tuple[int | None, Outcome]:
        """Kill a process and start another; return the task to blame, if that is certain, and its outcome."""
        seconds = time.monotonic() - process.since
        ending, killed = (process.ending(), process.was_killed()) if died else (_NOT_IMPORTED, False)
        self._stop(process)
        if not process.ready:
            self._count_killed(ending)
        self._start()
        suspects = process.in_progress()
        certain = len(suspects) == 1 and (not died or suspects[0] in self._survived)
        blamed = suspects[0] if certain else None
        if blamed is None:
            self._alone.update(suspects)
        self._waiting.extendleft(i for i in reversed(process.assigned) if i != blamed and i >= self._first)
        if died:
            self._survived.update(suspects)
            if blamed is not None and killed:
                self._count_killed(ending)
            return blamed, Outcome("error", 0.0, {}, seconds, f"the grading process ended twice ({ending})")
        return blamed, Outcome("timeout", 0.0, {}, seconds, f"no result after {self._time_limit:g} s")

    def _count_killed(self, ending: str) -> None:
        """Stop where processes are killed from outside, or do not start: no grader and no program sends SIGKILL."""
        self._killed += 1
        if self._killed > _MOST_KILLED:
            raise InputError(
                f"grading processes end again and again ({ending}), as where memory runs out: give the reward "
                f"stage more memory, or lower reward.workers (now {self._count})"
            )
