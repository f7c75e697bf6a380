"""A grading process: completions come in as JSON lines, an outcome goes back for each.

Started by `components.reward.grading_pool` and imported by nothing else.

Lines in:   first `{"graders": [{name, location, weight, options}, ...], "time_limit": seconds}`; then
            `{"rows": [[number, prompt, completion, answer, metadata], ...]}` with metadata as JSON text, and
            `{"drop": [number, ...]}` for rows that shall not be graded here any more.
Lines out:  first `{"versions": [...], "together": bool}` or `{"failed": reason}`; then for every row
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

from components.reward.grader_calls import LoadedGrader, Row, Scorer, describe, load

_PR_SET_PDEATHSIG = 1


class Requests:
    """Rows that wait to be graded, read from a stream as they come."""

    def __init__(self, stream: int) -> None:
        self.rows: deque[list[Any]] = deque()
        self.drops = 0
        self._stream = stream
        self._rest = b""

    def line(self) -> bytes:
        """The first line."""
        while b"\n" not in self._rest:
            if not (data := os.read(self._stream, 1 << 16)):
                return b""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def look(self) -> bool:
        """Take in what has arrived, waiting only while there is nothing to do; False at the end of the stream."""
        while (not self.rows and not self.drops) or select.select([self._stream], [], [], 0)[0]:
            if not (data := os.read(self._stream, 1 << 16)):
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
        return True

    def _take(self, request: dict[str, Any]) -> None:
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
        if os.getpid() != own:  # a grader forked and its child came back here
            os._exit(1)
        replies.write(json.dumps(value).encode() + b"\n")
        replies.flush()

    greeting = json.loads(requests.line())
    graders: list[LoadedGrader] = []
    for spec in greeting["graders"]:
        try:
            graders.append(load(**spec, time_limit=greeting["time_limit"]))
        except BaseException as error:
            reply({"failed": f"{spec['name']}: {describe(error)}"})
            return
    together = any(grader.together for grader in graders)
    reply({"versions": [grader.version for grader in graders], "together": together})
    scorer = Scorer(graders, greeting["time_limit"])
    while requests.look():
        for _ in range(requests.drops):
            reply({"dropped": True})
        requests.drops = 0
        if not requests.rows:
            continue
        chunk = list(requests.rows) if together else [requests.rows[0]]
        for _ in chunk:
            requests.rows.popleft()
        outcomes = scorer.grade([Row(*row[1:]) for row in chunk])
        for row, outcome in zip(chunk, outcomes, strict=True):
            reply([row[0], *outcome])


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, also in the middle of a row."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main()
