"""Grading processes and the time limit on every completion."""

import json
import math
import selectors
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from components.contract.errors import InputError
from components.reward.grader_lookup import Grader
from components.reward.grading_process import START_SECONDS, GradingProcess
from components.runtime.cores import usable_cores

_CHUNK = 16
_LOOK_SECONDS = 0.5
_SLOW_SECONDS = 0.05
# A process that grades several completions at once stops those that are late by itself, and is given time to say so.
_GRACE_SECONDS = 1.0


@dataclass(frozen=True)
class Task:
    """One completion to grade; `metadata` is a JSON object as text."""

    prompt: str
    completion: str
    answer: str | None
    metadata: str


@dataclass(frozen=True)
class Outcome:
    """What came out for one completion; `reward` is 0 unless `status` is `ok`."""

    status: str
    reward: float
    components: dict[str, float]
    seconds: float
    detail: str | None


class GraderPool:
    """Worker processes that pull completions in small chunks, and from each other when there are no more.

    A completion that takes longer than `time_limit` seconds costs its process, which is killed together with its
    children and replaced; one that makes its process die is an error; all others are graded as if nothing had
    happened, those of its chunk by other processes in the meantime. Where completions are graded several at once
    (`batch_size`) and their process hangs or dies, each of them is tried again alone. Workers die with this process.
    Use as a context manager, from one thread.

    Raises, when entered:
        InputError: a grader cannot be imported or does not take its options.
    """

    def __init__(self, graders: Sequence[Grader], workers: int, time_limit: float, batch_size: int = _CHUNK) -> None:
        self.versions: list[str] = []
        self._time_limit = time_limit
        self._batch_size = batch_size
        self._count = workers or usable_cores()
        greeting = {"graders": [asdict(grader) for grader in graders], "time_limit": time_limit}
        self._greeting = json.dumps(greeting).encode() + b"\n"
        self._selector = selectors.DefaultSelector()
        self._workers: list[GradingProcess] = []
        self._waiting: deque[int] = deque()
        self._alone: set[int] = set()

    def __enter__(self) -> Self:
        try:
            for _ in range(self._count):
                self._start()
            while not self.versions:
                for worker in self._readable():
                    self._receive(worker)
                self._check_starts()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in list(self._workers):
            self._stop(worker)
        self._selector.close()

    def grade(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        """Index and outcome of every task, in the order in which they finish."""
        self._waiting = deque(range(len(tasks)))
        self._alone = set()
        unfinished = set(self._waiting)
        while unfinished:
            self._assign(tasks)
            ended = []
            for worker in self._readable():
                replies = self._receive(worker)
                if replies is None:
                    ended.append(worker)
                    continue
                for index, *outcome in replies:
                    worker.take(index)
                    # One that was taken back may have been begun all the same, and comes twice.
                    if index in unfinished:
                        unfinished.remove(index)
                        yield index, Outcome(*outcome)
            self._check_starts()
            for worker in [w for w in self._workers if w in ended or w.overdue()]:
                blamed, failure = self._replace(worker, died=worker in ended or worker.exited())
                if blamed in unfinished:
                    unfinished.remove(blamed)
                    yield blamed, failure

    def _assign(self, tasks: Sequence[Task]) -> None:
        idle = [w for w in self._workers if w.idle]
        if idle and not self._waiting:
            self._steal()
        for worker in idle:
            chunk = self._chunk(worker.together)
            if not chunk:
                return
            rows = [(i, t.prompt, t.completion, t.answer, t.metadata) for i, t in ((i, tasks[i]) for i in chunk)]
            worker.expect(self._limit(worker))
            if not worker.give(rows):
                self._waiting.extendleft(reversed(worker.assigned))
                worker.assigned.clear()
                self._replace(worker, died=True)

    def _chunk(self, together: bool) -> list[int]:
        """The next tasks for one process; chunks shrink towards the end, so that none is kept from the others."""
        share = len(self._waiting) / self._count
        size = min(self._batch_size, math.ceil(share)) if together else min(_CHUNK, math.ceil(share / 2))
        chunk: list[int] = []
        while self._waiting and len(chunk) < size and not (chunk and self._waiting[0] in self._alone):
            chunk.append(self._waiting.popleft())
            if chunk[0] in self._alone:
                break
        return chunk

    def _steal(self) -> None:
        """Take back what waits behind the slowest completion."""
        moment = time.monotonic() - _SLOW_SECONDS
        slow = [w for w in self._workers if not w.together and len(w.assigned) > 1 and w.since < moment]
        if slow:
            self._waiting.extend(min(slow, key=lambda w: w.since).recall())

    def _receive(self, worker: GradingProcess) -> list[list[Any]] | None:
        """Outcomes that have arrived; None where the process has ended. Extends the worker's deadline."""
        replies = worker.receive()
        if replies is None:
            if not worker.ready:
                self._refuse(f"its process ended at the import ({worker.ending()})")
            return None
        if replies and not worker.ready:
            greeting = replies.pop(0)
            if "failed" in greeting:
                self._refuse(greeting["failed"])
            worker.ready = True
            worker.together = greeting["together"]
            self.versions = greeting["versions"]
        if replies:
            worker.expect(self._limit(worker))
        outcomes = [reply for reply in replies if isinstance(reply, list)]
        if len(outcomes) < len(replies):
            worker.recalled.clear()
        return outcomes

    def _limit(self, worker: GradingProcess) -> float:
        return self._time_limit + (_GRACE_SECONDS if worker.together else 0.0)

    def _readable(self) -> list[GradingProcess]:
        now = time.monotonic()
        patience = min([_LOOK_SECONDS, *(w.deadline - now for w in self._workers if w.busy)])
        if not self._waiting and any(w.idle for w in self._workers):
            patience = min(patience, _SLOW_SECONDS)
        return [key.data for key, _ in self._selector.select(max(0.0, patience))]

    def _check_starts(self) -> None:
        if any(not w.ready and time.monotonic() > w.deadline for w in self._workers):
            self._refuse(f"not imported after {START_SECONDS:.0f} s")

    def _refuse(self, reason: str) -> None:
        raise InputError(f"reward.graders cannot be loaded: {reason}")

    def _start(self) -> None:
        worker = GradingProcess(self._greeting)
        self._workers.append(worker)
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)

    def _stop(self, worker: GradingProcess) -> None:
        self._selector.unregister(worker.stdout)
        self._workers.remove(worker)
        worker.kill()

    def _replace(self, worker: GradingProcess, died: bool) -> tuple[int | None, Outcome]:
        """Kill a worker and start another; the completion it was at, if that is certain, and what became of it."""
        seconds = time.monotonic() - worker.since
        self._stop(worker)
        self._start()
        flight = worker.in_flight()
        blamed = flight[0] if len(flight) == 1 else None
        if blamed is None:
            self._alone.update(flight)
        self._waiting.extendleft(i for i in reversed(worker.assigned) if i != blamed)
        if died:
            return blamed, Outcome("error", 0.0, {}, seconds, f"the grading process ended ({worker.ending()})")
        return blamed, Outcome("timeout", 0.0, {}, seconds, f"no result after {self._time_limit:g} s")
