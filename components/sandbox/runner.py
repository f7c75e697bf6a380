"""Runner of a test suite against a program in the sandbox. Messages from the program are data, never verdicts."""

import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from typing import Literal

from components.sandbox.exits import describe_exit
from components.sandbox.extraction import Source
from components.sandbox.inside.wire import Closed, Malformed, decode, encode
from components.sandbox.sandbox import Program, Sandbox, TimedOut, TooLarge
from components.sandbox.suite import Asserts, Call, Calls, Pairs, Suite

_MAX_SHOWN_CHARACTERS = 80
_FAILURES = (Closed, TimedOut, TooLarge, Malformed)

Verdict = Literal["passed", "failed", "raised", "timeout", "died", "output"]


@dataclass(frozen=True)
class TestResult:
    """The verdict on one test; `reason` is empty where it passed."""

    verdict: Verdict
    reason: str = ""


def run_suite(sandbox: Sandbox, sources: Sequence[Source], suite: Suite, seconds: float) -> list[TestResult]:
    """Run all tests within `seconds` of wall clock and return a result for each.

    A program that dies or does not reply in time fails its current test and all that follow.

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
                results.append(_compare(call, program.receive(deadline)))
        except _FAILURES as error:
            results.append(_failed(error, program))
    return results


def _compare(call: Call, reply: object) -> TestResult:
    match reply:
        case ["raised", str(kind), str(message)]:
            return TestResult("raised", f"{call.name} raised {kind}: {message}")
        case ["value", data]:
            try:
                value = decode(data)
                if call.holds(value):
                    return TestResult("passed")
                return TestResult("failed", f"{call.name} returned {_short(value)}, expected {_short(call.expected)}")
            except (Malformed, RecursionError, ArithmeticError):
                pass
    return TestResult("failed", f"{call.name} returned a value that cannot be compared")


def _run_asserts(sandbox: Sandbox, sources: Sequence[Source], suite: Asserts, deadline: float) -> list[TestResult]:
    results: list[TestResult] = []
    with sandbox.start("asserts") as tests, sandbox.start("calls") as program:
        try:
            if failure := _load(program, sources, deadline):
                return [failure]
            tests.send({"setup": suite.setup, "tests": suite.tests}, deadline)
            called = False
            while len(results) < len(suite.tests):
                match tests.receive(deadline):
                    case ["call", operation, *arguments]:
                        # Every name that a test mentions is looked up with "itself", which runs nothing.
                        called = called or operation != "itself"
                        program.send([operation, *arguments], deadline)
                        tests.send_frame(program.receive_frame(deadline), deadline)
                    case ["verdict", True, _]:
                        # For example a test that means the program's `sorted` but finds Python's own.
                        not_called = TestResult("failed", "the test passes without calling the program")
                        results.append(TestResult("passed") if called else not_called)
                        called = False
                    case ["verdict", False, reason]:
                        results.append(TestResult("failed", str(reason)))
                        called = False
        except _FAILURES as error:
            results.append(_failed(error, program))
    return results


def _run_pairs(
    sandbox: Sandbox, sources: Sequence[Source], pairs: Sequence[tuple[str, str]], deadline: float
) -> list[TestResult]:
    results: list[TestResult] = []
    for given, wanted in pairs:
        results.append(_run_pair(sandbox, sources, given, wanted, deadline))
        # All pairs share the time: starting a process for each of hundreds that remain would take seconds more.
        if results[-1].verdict == "timeout":
            break
    return results


def _run_pair(sandbox: Sandbox, sources: Sequence[Source], given: str, wanted: str, deadline: float) -> TestResult:
    stdin, (read_end, write_end) = _read_only(given), os.pipe()
    with (
        stdin,
        FileIO(read_end) as stdout,
        FileIO(write_end, "w") as theirs,
        sandbox.start("script", stdin.fileno(), theirs.fileno()) as program,
    ):
        theirs.close()
        try:
            program.send(sources, deadline)
            output = _read_all(stdout, sandbox.limits.output_kib * 1024, deadline)
            ending = program.receive(deadline)
        except _FAILURES as error:
            return _failed(error, program)
    match ending:
        case ["ended"] if _lines(output) == _lines(wanted):
            return TestResult("passed")
        case ["ended"]:
            return TestResult("failed", f"wrote {_short(output)}, expected {_short(wanted)}")
        case ["failed", str(kind), str(message)]:
            return TestResult("raised", f"{kind}: {message}")
    return TestResult("failed", "its last message cannot be read")


def _load(program: Program, sources: Sequence[Source], deadline: float) -> TestResult | None:
    program.send(sources, deadline)
    match program.receive(deadline):
        case ["ready"]:
            return None
        case ["failed", str(kind), str(message)]:
            return TestResult("raised", f"at its start, {kind}: {message}")
    return TestResult("failed", "its first message cannot be read")


def _failed(error: Exception, program: Program) -> TestResult:
    match error:
        case TimedOut():
            return TestResult("timeout", "no reply in time")
        case TooLarge():
            return TestResult("output", "more output than reward.sandbox.output_kib")
        case Malformed():
            return TestResult("failed", "its reply cannot be read")
    ending = describe_exit(os.waitstatus_to_exitcode(program.stop()))
    return TestResult("died", f"the program ended before its tests did ({ending})")


def _read_all(stream: FileIO, limit: int, deadline: float) -> str:
    """Read to the end of the stream. Raises TimedOut, TooLarge."""
    data = bytearray()
    while select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
        more = stream.read(1 << 16)
        if not more:
            return data.decode("utf-8", "replace")
        data += more
        if len(data) > limit:
            raise TooLarge
    raise TimedOut


def _read_only(text: str) -> FileIO:
    """Open a read-only file in memory that holds `text`."""
    with os.fdopen(os.memfd_create("stdin"), "wb") as file:
        file.write(text.encode("utf-8", "replace"))
        file.flush()
        return FileIO(f"/proc/self/fd/{file.fileno()}")


def _lines(text: str) -> list[str]:
    """Return the lines to compare: without white space at their ends, and without empty lines at the end."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[: _MAX_SHOWN_CHARACTERS - 3] + "..."
