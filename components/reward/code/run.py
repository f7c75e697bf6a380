"""Running a program against its tests; what a program sends is data and proves nothing but its value."""

import os
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from components.reward.code.extraction import Source
from components.reward.code.suite import Asserts, Calls, Pairs, Suite
from components.reward.code.values import Call
from components.reward.ending import how_it_ended
from components.sandbox.inside.wire import Closed, Malformed, decode, encode
from components.sandbox.process import Program, Sandbox, TimedOut, TooLarge

_SHOWN = 80
_ENDINGS = (Closed, TimedOut, TooLarge, Malformed)

Verdict = Literal["passed", "failed", "raised", "timeout", "died", "output"]


@dataclass(frozen=True)
class TestResult:
    """What became of one test; `reason` is empty for one that passed."""

    verdict: Verdict
    reason: str = ""


def run_suite(sandbox: Sandbox, sources: Sequence[Source], suite: Suite, seconds: float) -> list[TestResult]:
    """A result for every test, within `seconds` of wall clock for all of them together.

    A program that dies or does not answer in time fails the test it is at and all that follow.

    Raises:
        SandboxGone: the sandbox itself ended.
    """
    deadline = time.monotonic() + seconds
    match suite:
        case Calls(calls):
            results, count = _run_calls(sandbox, sources, calls, deadline), len(calls)
        case Asserts(_, tests):
            results, count = _run_asserts(sandbox, sources, suite, deadline), len(tests)
        case Pairs(pairs):
            results, count = _run_pairs(sandbox, sources, pairs, deadline), len(pairs)
    return results + [results[-1]] * (count - len(results))


def _run_calls(sandbox: Sandbox, sources: Sequence[Source], calls: Sequence[Call], deadline: float) -> list[TestResult]:
    results: list[TestResult] = []
    with sandbox.start("calls") as program:
        try:
            if failure := _load(program, sources, deadline):
                return [failure]
            for call in calls:
                program.send(["call", call.name, encode(call.positional), encode(call.named)], deadline)
                results.append(_judged(call, program.receive(deadline)))
        except _ENDINGS as error:
            results.append(_ended(error, program))
    return results


def _judged(call: Call, reply: object) -> TestResult:
    match reply:
        case ["raised", str(kind), str(message)]:
            return TestResult("raised", f"{call.name} raised {kind}: {message}")
        case ["value", data]:
            try:
                value = decode(data)
                if call.holds(value):
                    return TestResult("passed")
                return TestResult("failed", f"{call.name} gave {_short(value)}, expected {_short(call.expected)}")
            except (Malformed, RecursionError, ArithmeticError):
                pass
    return TestResult("failed", f"{call.name} gave nothing that can be compared")


def _run_asserts(sandbox: Sandbox, sources: Sequence[Source], suite: Asserts, deadline: float) -> list[TestResult]:
    results: list[TestResult] = []
    with sandbox.start("judge") as judge, sandbox.start("calls") as program:
        try:
            if failure := _load(program, sources, deadline):
                return [failure]
            judge.send({"setup": suite.setup, "tests": suite.tests}, deadline)
            asked = False
            while len(results) < len(suite.tests):
                match judge.receive(deadline):
                    case ["call", operation, *arguments]:
                        # To look a name up, which the judge does for all that a test mentions, runs nothing.
                        asked = asked or operation != "itself"
                        program.send([operation, *arguments], deadline)
                        judge.send_frame(program.receive_frame(deadline), deadline)
                    case ["verdict", True, _]:
                        # A name of Python's own, which a test means the program's function by, would pass like this.
                        unasked = TestResult("failed", "the test passes without calling the program")
                        results.append(TestResult("passed") if asked else unasked)
                        asked = False
                    case ["verdict", False, reason]:
                        results.append(TestResult("failed", str(reason)))
                        asked = False
        except _ENDINGS as error:
            results.append(_ended(error, program))
    return results


def _run_pairs(
    sandbox: Sandbox, sources: Sequence[Source], pairs: Sequence[tuple[str, str]], deadline: float
) -> list[TestResult]:
    results: list[TestResult] = []
    for given, wanted in pairs:
        results.append(_run_pair(sandbox, sources, given, wanted, deadline))
        # The time is everyone's: to start a process for each of hundreds that are left would take seconds beyond it.
        if results[-1].verdict == "timeout":
            break
    return results


def _run_pair(sandbox: Sandbox, sources: Sequence[Source], given: str, wanted: str, deadline: float) -> TestResult:
    with _read_only(given) as stdin, _Pipe() as pipe, sandbox.start("script", stdin, pipe.write_end) as program:
        pipe.close_write_end()
        try:
            program.send(sources, deadline)
            output = pipe.read(sandbox.limits.output_kib * 1024, deadline)
            ending = program.receive(deadline)
        except _ENDINGS as error:
            return _ended(error, program)
    match ending:
        case ["ended"] if _lines(output) == _lines(wanted):
            return TestResult("passed")
        case ["ended"]:
            return TestResult("failed", f"wrote {_short(output)}, expected {_short(wanted)}")
        case ["failed", str(kind), str(message)]:
            return TestResult("raised", f"{kind}: {message}")
    return TestResult("failed", "how it ended cannot be read")


def _load(program: Program, sources: Sequence[Source], deadline: float) -> TestResult | None:
    program.send(sources, deadline)
    match program.receive(deadline):
        case ["ready"]:
            return None
        case ["failed", str(kind), str(message)]:
            return TestResult("raised", f"at its start, {kind}: {message}")
    return TestResult("failed", "how it started cannot be read")


def _ended(error: Exception, program: Program) -> TestResult:
    match error:
        case TimedOut():
            return TestResult("timeout", "no answer in time")
        case TooLarge():
            return TestResult("output", "more output than reward.sandbox.output_kib")
        case Malformed():
            return TestResult("failed", "an answer that cannot be read")
    how = how_it_ended(os.waitstatus_to_exitcode(program.stop()))
    return TestResult("died", f"the program ended before its tests did ({how})")


class _Pipe:
    """What a program writes to its standard output."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def __enter__(self) -> "_Pipe":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.read_end)
        self.close_write_end()

    def close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def read(self, limit: int, deadline: float) -> str:
        """Everything up to the end of the stream. Raises TimedOut, TooLarge."""
        data = bytearray()
        while select.select([self.read_end], [], [], max(0.0, deadline - time.monotonic()))[0]:
            more = os.read(self.read_end, 1 << 16)
            if not more:
                return data.decode("utf-8", "replace")
            data += more
            if len(data) > limit:
                raise TooLarge
        raise TimedOut


@contextmanager
def _read_only(text: str) -> Iterator[int]:
    """A file of memory that can be read only."""
    with os.fdopen(os.memfd_create("stdin"), "wb") as file:
        file.write(text.encode("utf-8", "replace"))
        file.flush()
        fd = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def _lines(text: str) -> list[str]:
    """What counts of an output: its lines without white space at their ends, and without empty ones at its end."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
