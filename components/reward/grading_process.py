"""One grading process, as seen by the pool."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from components.sandbox.exits import describe_exit

START_SECONDS = 120.0

_WITHHELD = re.compile(
    r"AWS_.*|MLFLOW_.*|(HF|HUGGING_?FACE|HUGGING_FACE_HUB)_.*TOKEN.*|RAPID_PARENT_FD|RAPID_POD_SOCKET", re.IGNORECASE
)
"""Variables that graders have no use for: credentials of storage, hub and MLflow, and ways to the other processes."""


class GradingProcess:
    """A process that runs `components.reward.grading_main`, its tasks in order, and its deadline.

    With `prefers_batches` it grades all tasks of a chunk at once; else one after the other, in order. `recalled` are
    tasks that were taken back from behind a slow one and that the process has not confirmed to have dropped.
    """

    def __init__(self, greeting: bytes) -> None:
        # A session of its own: a kill reaches the processes that graders started, Ctrl-C the parent alone.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "components.reward.grading_main", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env=grading_environment(os.environ),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self.stdout = self._process.stdout
        self.ready = False
        self.failure = ""
        """The reason for which it could not load the graders."""
        self.prefers_batches = False
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

    def set_deadline(self, seconds: float) -> None:
        """Start the clock of the task that begins now."""
        self.since = time.monotonic()
        self.deadline = self.since + seconds

    def give(self, rows: Sequence[tuple[int, str, str, str | None, str]]) -> bool:
        """Send tasks as (number, prompt, completion, answer, metadata); False where the process is gone."""
        self.assigned.extend(row[0] for row in rows)
        return self._send(json.dumps({"rows": rows}).encode() + b"\n")

    def recall(self) -> list[int]:
        """Take back the tasks behind the current one."""
        current, *taken = self.assigned
        self.assigned = deque([current])
        self.recalled.update(taken)
        self._send(json.dumps({"drop": taken}).encode() + b"\n")
        return taken

    def remove(self, index: int) -> None:
        """Remove a task whose outcome has arrived."""
        if index in self.assigned:
            self.assigned.remove(index)

    def in_progress(self) -> list[int]:
        """Return the tasks of which one is to blame when the process hangs or dies."""
        return list(self.assigned) if self.prefers_batches else list(self.assigned)[:1]

    def receive(self) -> list[Any] | None:
        """Return the replies that have arrived; None at the end of the stream."""
        data = os.read(self.stdout.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def overdue(self) -> bool:
        """Return whether its deadline has passed and no reply waits to be read."""
        late = (self.busy or not self.ready) and time.monotonic() > self.deadline
        return late and not select.select([self.stdout], [], [], 0)[0]

    def exited(self) -> bool:
        """Return whether the process has ended, even where its children still hold the stream open."""
        return self._process.poll() is not None

    def ending(self) -> str:
        return self.failure or describe_exit(self._process.wait())

    def was_killed(self) -> bool:
        """Return whether SIGKILL has ended the process."""
        return self._process.wait() == -signal.SIGKILL

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


def grading_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a grading process, in which code of a user's own and of a policy's making may run.

    It has neither the stage's credentials nor a GPU; a secret that a grader needs, such as the key of a judge, is left.
    """
    kept = {name: value for name, value in environment.items() if not _WITHHELD.fullmatch(name)}
    modules = os.pathsep.join(path or "." for path in sys.path)
    return {**kept, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": modules}
