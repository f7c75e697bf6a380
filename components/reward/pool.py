"""Grading processes and the time limit on every completion."""

import json
import math
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Self

from components.contract.errors import InputError
from components.reward.registry import Grader

_CHUNK = 16
_START_SECONDS = 120.0
_LOOK_SECONDS = 0.5


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
    """Worker processes that pull completions in small chunks.

    A completion that takes longer than `time_limit` seconds costs its process, which is killed together with its
    children and replaced; one that makes its process die is an error; all others are graded as if nothing had
    happened. Workers die with this process. Use as a context manager, from one thread.

    Raises, when entered:
        InputError: a grader cannot be imported or does not take its options.
    """

    def __init__(self, graders: Sequence[Grader], workers: int, time_limit: float) -> None:
        self.versions: list[str] = []
        self._time_limit = time_limit
        self._count = workers or len(os.sched_getaffinity(0))
        self._greeting = json.dumps([asdict(grader) for grader in graders]).encode() + b"\n"
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []

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
        waiting = deque(range(len(tasks)))
        unfinished = len(tasks)
        while unfinished:
            self._assign(tasks, waiting)
            ended = []
            for worker in self._readable():
                replies = self._receive(worker)
                if replies is None:
                    ended.append(worker)
                    continue
                for reply in replies:
                    unfinished -= 1
                    yield worker.assigned.popleft(), Outcome(*reply)
            self._check_starts()
            for worker in [w for w in self._workers if w in ended or w.overdue()]:
                failure = self._replace(worker, died=worker in ended or worker.exited())
                if worker.assigned:
                    unfinished -= 1
                    yield worker.assigned.popleft(), failure
                    waiting.extendleft(reversed(worker.assigned))

    def _assign(self, tasks: Sequence[Task], waiting: deque[int]) -> None:
        for worker in [w for w in self._workers if w.ready and not w.assigned]:
            # Chunks shrink towards the end, so that no process sits on work that another could do.
            size = min(_CHUNK, math.ceil(len(waiting) / (2 * self._count)))
            chunk = [waiting.popleft() for _ in range(size)]
            if not chunk:
                return
            rows = [(t.prompt, t.completion, t.answer, t.metadata) for t in (tasks[i] for i in chunk)]
            if worker.send(json.dumps(rows).encode() + b"\n"):
                worker.assigned.extend(chunk)
                worker.deadline = time.monotonic() + self._time_limit
            else:
                waiting.extendleft(reversed(chunk))
                self._replace(worker, died=True)

    def _receive(self, worker: "_Worker") -> list[list[Any]] | None:
        """Outcomes that have arrived; None where the process has ended. Extends the worker's deadline."""
        lines = worker.receive()
        if lines is None:
            if not worker.ready:
                self._refuse(f"its process ended at the import ({worker.ending()})")
            return None
        replies = [json.loads(line) for line in lines]
        if replies and not worker.ready:
            greeting = replies.pop(0)
            if "failed" in greeting:
                self._refuse(greeting["failed"])
            worker.ready = True
            self.versions = greeting["versions"]
        if replies:
            worker.deadline = time.monotonic() + self._time_limit
        return replies

    def _readable(self) -> list["_Worker"]:
        deadlines = [w.deadline for w in self._workers if w.assigned]
        patience = min([_LOOK_SECONDS, *(d - time.monotonic() for d in deadlines)])
        return [key.data for key, _ in self._selector.select(max(0.0, patience))]

    def _check_starts(self) -> None:
        if any(not w.ready and time.monotonic() > w.deadline for w in self._workers):
            self._refuse(f"not imported after {_START_SECONDS:.0f} s")

    def _refuse(self, reason: str) -> None:
        raise InputError(f"reward.graders cannot be loaded: {reason}")

    def _start(self) -> None:
        worker = _Worker(self._greeting)
        self._workers.append(worker)
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)

    def _stop(self, worker: "_Worker") -> None:
        self._selector.unregister(worker.stdout)
        self._workers.remove(worker)
        worker.kill()

    def _replace(self, worker: "_Worker", died: bool) -> Outcome:
        """Kill a worker and start another; what became of the completion it was at."""
        seconds = time.monotonic() - (worker.deadline - self._time_limit)
        self._stop(worker)
        self._start()
        if died:
            return Outcome("error", 0.0, {}, seconds, f"the grading process ended ({worker.ending()})")
        return Outcome("timeout", 0.0, {}, seconds, f"no result after {self._time_limit:g} s")


class _Worker:
    """One process, the tasks it was given in order, and when its present one is due."""

    def __init__(self, greeting: bytes) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
        # A session of its own, so that a kill reaches what graders have started; Ctrl-C reaches the parent alone.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "components.reward.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin = self._process.stdin
        self.stdout = self._process.stdout
        self.ready = False
        self.assigned: deque[int] = deque()
        self.deadline = time.monotonic() + _START_SECONDS
        self._rest = b""
        self.send(greeting)

    def send(self, line: bytes) -> bool:
        """False where the process has gone."""
        view = memoryview(line)
        try:
            while view:
                view = view[self.stdin.write(view) :]
        except BrokenPipeError:
            return False
        return True

    def receive(self) -> list[bytes] | None:
        """Whole lines that have arrived; None at the end of the stream."""
        data = os.read(self.stdout.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines

    def overdue(self) -> bool:
        """Past its deadline with no outcome waiting to be read."""
        late = bool(self.assigned) and time.monotonic() > self.deadline
        return late and not select.select([self.stdout], [], [], 0)[0]

    def exited(self) -> bool:
        """Whether the process has ended, even where its children still hold the stream open."""
        return self._process.poll() is not None

    def ending(self) -> str:
        status = self._process.wait()
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.stdin.close()
        self.stdout.close()
