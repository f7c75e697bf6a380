"""One grading process, as the pool sees it."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from components.runtime.exits import describe_exit

START_SECONDS = 120.0


class GradingProcess:
    """A process that runs `components.reward.grading_main`, the tasks it was given in order, and when it is due.

    `together` says that it grades all tasks of a chunk at once; else one after the other, in order. `recalled` are
    tasks that were taken back from behind a slow one and that the process has not said it dropped.
    """

    def __init__(self, greeting: bytes) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
        # A session of its own, so that a kill reaches what graders have started; Ctrl-C reaches the parent alone.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "components.reward.grading_main", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self.stdout = self._process.stdout
        self.ready = False
        self.together = False
        self.assigned: deque[int] = deque()
        self.recalled: set[int] = set()
        self.since = time.monotonic()
        self.deadline = self.since + START_SECONDS
        self._rest = b""
        self._send(greeting)

    @property
    def idle(self) -> bool:
        return self.ready and not self.assigned and not self.recalled

    @property
    def busy(self) -> bool:
        return bool(self.assigned or self.recalled)

    def expect(self, seconds: float) -> None:
        """Something is begun just now and is to be done within so many seconds."""
        self.since = time.monotonic()
        self.deadline = self.since + seconds

    def give(self, rows: Sequence[tuple[int, str, str, str | None, str]]) -> bool:
        """Hand over tasks as (number, prompt, completion, answer, metadata); False where the process has gone."""
        self.assigned.extend(row[0] for row in rows)
        return self._send(json.dumps({"rows": rows}).encode() + b"\n")

    def recall(self) -> list[int]:
        """Take back the tasks behind the one it is at."""
        taken = list(self.assigned)[1:]
        self.assigned = deque(list(self.assigned)[:1])
        self.recalled.update(taken)
        self._send(json.dumps({"drop": taken}).encode() + b"\n")
        return taken

    def take(self, index: int) -> None:
        """An outcome has come back."""
        if index in self.assigned:
            self.assigned.remove(index)

    def in_flight(self) -> list[int]:
        """The tasks of which one is to blame when the process hangs or dies."""
        return list(self.assigned) if self.together else list(self.assigned)[:1]

    def receive(self) -> list[Any] | None:
        """Replies that have arrived; None at the end of the stream."""
        data = os.read(self.stdout.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def overdue(self) -> bool:
        """Past its deadline with no reply waiting to be read."""
        late = self.busy and time.monotonic() > self.deadline
        return late and not select.select([self.stdout], [], [], 0)[0]

    def exited(self) -> bool:
        """Whether the process has ended, even where its children still hold the stream open."""
        return self._process.poll() is not None

    def ending(self) -> str:
        return describe_exit(self._process.wait())

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._stdin.close()
        self.stdout.close()

    def _send(self, line: bytes) -> bool:
        view = memoryview(line)
        try:
            while view:
                view = view[self._stdin.write(view) :]
        except BrokenPipeError:
            return False
        return True
