"""The main program of a grading process: completions come in as JSON lines, an outcome goes back for each.

Started by `components.reward.grading_process`, and imported by nothing else.

Lines in:   first `{"graders": [{name, location, weight, options, sandbox}, ...], "time_limit": seconds}`; then
            `{"rows": [[number, prompt, completion, answer, metadata], ...]}` with metadata as JSON text, and
            `{"drop": [number, ...]}` for rows that are no longer to be graded here.
Lines out:  first `{"versions": [...], "prefers_batches": bool}` or `{"failed": reason}`; then for every row
            `[number, status, reward, components, seconds, detail]`, and for every drop `{"dropped": true}`.
"""

import ctypes
import json
import os
import select
import signal
import sys
from collections import deque
from typing import Any

from components.reward.grader_calls import GradedCompletion, LoadedGrader, WeightedGraders, describe, load_grader

_PR_SET_PDEATHSIG = 1


class Requests:
    """Rows that wait to be graded, read from a stream as they arrive."""

    def __init__(self, stream: int) -> None:
        self.rows: deque[list[Any]] = deque()
        self.drops = 0
        self._stream = stream
        self._rest = b""

    def read_line(self) -> bytes:
        """Wait for the next line; empty at the end of the stream."""
        while b"\n" not in self._rest:
            if not (data := os.read(self._stream, 1 << 16)):
                return b""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def read_available(self) -> bool:
        """Read what has arrived, and wait only while there is nothing to do. False at the end of the stream."""
        while (not self.rows and not self.drops) or select.select([self._stream], [], [], 0)[0]:
            if not (data := os.read(self._stream, 1 << 16)):
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._add(json.loads(line))
        return True

    def _add(self, request: dict[str, Any]) -> None:
        if "drop" in request:
            self.drops += 1
            self.rows = deque(row for row in self.rows if row[0] not in request["drop"])
        else:
            self.rows.extend(request["rows"])


def main() -> None:
    _die_with(parent=int(sys.argv[1]))
    # Graders may read standard input and print: they get /dev/null, the parent's pipes are kept apart.
    requests = Requests(os.dup(0))
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    own = os.getpid()

    def reply(value: object) -> None:
        if os.getpid() != own:  # a grader forked, and its child returned to here
            os._exit(1)
        replies.write(json.dumps(value).encode() + b"\n")
        replies.flush()

    greeting = json.loads(requests.read_line())
    graders: list[LoadedGrader] = []
    for spec in greeting["graders"]:
        try:
            graders.append(load_grader(**spec, time_limit=greeting["time_limit"]))
        except BaseException as error:
            reply({"failed": f"{spec['name']}: {describe(error)}"})
            return
    prefers_batches = any(grader.prefers_batches for grader in graders)
    reply({"versions": [grader.version for grader in graders], "prefers_batches": prefers_batches})
    weighted = WeightedGraders(graders, greeting["time_limit"])
    while requests.read_available():
        for _ in range(requests.drops):
            reply({"dropped": True})
        requests.drops = 0
        if not requests.rows:
            continue
        chunk = list(requests.rows) if prefers_batches else [requests.rows[0]]
        for _ in chunk:
            requests.rows.popleft()
        outcomes = weighted.grade([GradedCompletion(*row[1:]) for row in chunk])
        for row, outcome in zip(chunk, outcomes, strict=True):
            reply([row[0], *outcome])


def _die_with(parent: int) -> None:
    """Make the kernel kill this process when its parent dies, even in the middle of a row."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main()
