"""Runner of a test suite against a program in the sandbox. Messages from the program are data, never verdicts."""

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from typing import Literal

from components.sandbox.exits import describe_exit
from components.sandbox.extraction import Source
from components.sandbox.inside.values import Malformed
from components.sandbox.inside.wire import Closed
from components.sandbox.output import same_lines, same_tokens
from components.sandbox.sandbox import Program, Sandbox, SandboxGone, TimedOut, TooLarge
from components.sandbox.suite import Asserts, Pairs, Suite, are_plain_calls, defined_names

_MAX_SHOWN_CHARACTERS = 80
_FAILURES = (Closed, TimedOut, TooLarge, Malformed)

Same = Callable[[str, str], bool]
Verdict = Literal["passed", "failed", "raised", "timeout", "died", "killed", "output", "unrunnable"]


@dataclass(frozen=True)
class TestResult:
    """The verdict on one test; `reason` is empty where it passed.

    `died` is an end of the program by itself or at a limit, `killed` one by another's SIGKILL, or perhaps its own.
    """

    verdict: Verdict
    reason: str = ""


def run_suite(
    sandbox: Sandbox, sources: Sequence[Source], suite: Suite, seconds: float, exact_output: bool = False
) -> list[TestResult]:
    """Run all tests within `seconds` of wall clock and return a result for each.

    A program that dies or does not reply in time fails its current test and all that follow.

    Raises:
        SandboxGone: the sandbox itself ended, or its process for tests was killed.
    """
    deadline = time.monotonic() + seconds
    match suite:
        case Asserts():
            results, count = _run_asserts(sandbox, sources, suite, deadline), len(suite.tests)
        case Pairs(pairs):
            same = same_lines if exact_output else same_tokens
            results, count = _run_pairs(sandbox, sources, pairs, deadline, same), len(pairs)
    return results + [results[-1]] * (count - len(results))


def _run_asserts(sandbox: Sandbox, sources: Sequence[Source], suite: Asserts, deadline: float) -> list[TestResult]:
    results: list[TestResult] = []
    shared = are_plain_calls(suite)
    tests, worked = sandbox.take_tests(shared)
    begin = time.monotonic()
    with ExitStack() as stack:
        stack.callback(tests.stop)
        program = stack.enter_context(sandbox.start("calls"))
        try:
            match _load(program, suite.given, sources, deadline):
                case TestResult() as failure:
                    return [failure]
                case list(names):
                    job = {"setup": suite.setup, "tests": suite.tests, "names": names, "entry": suite.entry}
                    tests.send({**job, "given": defined_names(suite.given)}, deadline)
            while len(results) < len(suite.tests):
                match tests.receive(deadline):
                    case ["call", operation, *arguments]:
                        program.send([operation, *arguments], deadline)
                        tests.send_frame(program.receive_frame(deadline), deadline)
                    case ["verdict", kind, reason]:
                        results.append(TestResult(kind, reason or ""))
        except _FAILURES as error:
            results.append(_tests_ended(tests) if tests.closed else _failed(error, program))
        else:
            if shared:
                stack.pop_all()
                program.stop()
                sandbox.keep_tests(tests, worked + time.monotonic() - begin)
    return results


def _run_pairs(
    sandbox: Sandbox, sources: Sequence[Source], pairs: Sequence[tuple[str, str]], deadline: float, same: Same
) -> list[TestResult]:
    results: list[TestResult] = []
    for given, wanted in pairs:
        results.append(_run_pair(sandbox, sources, (given, wanted), deadline, same))
        # All pairs share the time: starting a process for each of hundreds that remain would take seconds more.
        if results[-1].verdict == "timeout":
            break
    return results


def _run_pair(
    sandbox: Sandbox, sources: Sequence[Source], pair: tuple[str, str], deadline: float, same: Same
) -> TestResult:
    given, wanted = pair
    output = ""
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
            # A program may end by `os._exit(0)`, to save time.
            ended_well = isinstance(error, Closed) and program.stop() == 0
            return TestResult("passed") if ended_well and same(output, wanted) else _failed(error, program)
    match ending:
        case ["ended"] if same(output, wanted):
            return TestResult("passed")
        case ["ended"]:
            return TestResult("failed", f"wrote {_short(output)}, expected {_short(wanted)}")
        case ["failed", str(kind), str(message)]:
            return TestResult("raised", f"{kind}: {message}")
    return TestResult("failed", "its last message cannot be read")


def _load(program: Program, given: str, sources: Sequence[Source], deadline: float) -> TestResult | list[str]:
    """Start a program; return the names that it defines, or why it has none."""
    program.send(given, deadline)
    match program.receive(deadline):
        case ["broken", str(message)]:
            return TestResult("unrunnable", f"setup: {message}")
    program.send(sources, deadline)
    match program.receive(deadline):
        case ["ready", list(names)]:
            return [str(name) for name in names]
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
    verdict, ending = _ending(program)
    return TestResult(verdict, f"the program ended before its tests did ({ending})")


def _tests_ended(tests: Program) -> TestResult:
    """Return the result where the process for tests has ended, as a value of the program's can make it do.

    Raises:
        SandboxGone: it was killed from outside.
    """
    verdict, ending = _ending(tests)
    if verdict == "killed":
        raise SandboxGone(f"its process for tests was killed ({ending})") from None
    return TestResult(verdict, f"its tests ended early ({ending})")


def _ending(program: Program) -> tuple[Literal["died", "killed"], str]:
    """Stop a process whose channel is closed; return a verdict on it, and how it ended."""
    code = os.waitstatus_to_exitcode(program.stop())
    killed = code == -signal.SIGKILL and not program.exceeded
    return "killed" if killed else "died", describe_exit(code)


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


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[: _MAX_SHOWN_CHARACTERS - 3] + "..."
