"""The output of a child process: printed on as it comes, and kept as the log of its attempt."""

import os
import select
import threading
from contextlib import suppress

from components.contract.credentials import secret_values
from components.runtime.log_lines import LogLines
from components.runtime.log_writer import LogWriter
from components.store.attempt_logs import Outcome

_READ_BYTES = 65536
_REST_SECONDS = 0.1
"""Output without the end of its line is printed on after so long."""

_printing = threading.Lock()


class ChildOutput:
    """Pipes for a child's standard output and error, and the thread that empties them.

    Attributes:
        stdout, stderr: the child's ends, to be closed here by `follow` once it has them.
        log: takes its lines.
    """

    def __init__(self) -> None:
        output, self.stdout = os.pipe()
        error, self.stderr = os.pipe()
        self.log = LogWriter()
        self._lines = LogLines(secret_values(os.environ))
        self._streams = {output: _Stream(1), error: _Stream(2)}
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)

    def follow(self) -> None:
        """Begin to read."""
        os.close(self.stdout)
        os.close(self.stderr)
        self._thread.start()

    def end(self, status: int, how: str, outcome: Outcome) -> str:
        """Take in that the process has ended, and what it had started; return why, in one line, empty if it succeeded.

        Args:
            how: says so where the process itself gives no reason.
        """
        self._thread.join(_REST_SECONDS * 10)
        said = "" if outcome == "stopped" else self._lines.reason(status)
        reason = "" if outcome == "succeeded" else said or how
        self.log.end(status, reason, outcome)
        return reason

    def _run(self) -> None:
        poll = select.poll()
        for descriptor in self._streams:
            poll.register(descriptor, select.POLLIN)
        while self._streams:
            waits = any(stream.rest for stream in self._streams.values())
            ready = poll.poll(1000 * _REST_SECONDS if waits else None)
            if not ready:
                for stream in self._streams.values():
                    stream.print_rest()
            for descriptor, _ in ready:
                data = os.read(descriptor, _READ_BYTES)
                self._take(self._streams[descriptor], data)
                if not data:
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    del self._streams[descriptor]

    def _take(self, stream: "_Stream", data: bytes) -> None:
        for line in stream.lines(data):
            self.log.append(self._lines.line(line))


class _Stream:
    """Whole lines of one of a child's streams, printed on to this process's stream of the same number."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._line = b""
        self._printed = 0

    @property
    def rest(self) -> bytes:
        """The begun line, as far as it is not printed."""
        return self._line[self._printed :]

    def lines(self, data: bytes) -> list[bytes]:
        """Print what has come, and return the lines that are complete; no data ends the last one.

        So does a length of 64 KiB: a progress bar may draw its frames for days without a line's end.
        """
        *whole, self._line = (self._line + data).split(b"\n")
        for line in whole:
            self._print(line[self._printed :] + b"\n")
            self._printed = 0
        if self._line and (not data or len(self._line) > _READ_BYTES):
            self.print_rest()
            whole, self._line, self._printed = [*whole, self._line], b"", 0
        return whole

    def print_rest(self) -> None:
        """Print a begun line."""
        self._print(self.rest)
        self._printed = len(self._line)

    def _print(self, data: bytes) -> None:
        # One write for each line, which other processes' lines on the same pipe cannot interrupt.
        with _printing, suppress(OSError):  # nobody reads it
            while data:
                data = data[os.write(self._target, data) :]
