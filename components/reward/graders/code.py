"""Programs against tests, in the sandbox."""

import atexit
from collections import Counter
from functools import cache
from typing import Any

from components.reward.score import Score
from components.sandbox.extraction import find_programs
from components.sandbox.runner import TestResult, run_suite
from components.sandbox.sandbox import Limits, Sandbox, SandboxGone
from components.sandbox.suite import called_names, read_suite

VERSION = "1"

_LETTERS = {"passed": "P", "failed": "F", "raised": "E", "timeout": "T", "died": "X", "output": "O"}


def code(
    *,
    completion: str,
    answer: str | None,
    metadata: dict[str, Any],
    sandbox: dict[str, Any],
    prompt: str,  # noqa: ARG001
    partial: bool = False,
    challenge: bool = False,
    plus: bool = False,
) -> Score:
    """1 where the completion's program passes every test of the prompt, else 0; with `partial` the share it passes.

    Tests are read as `components.sandbox.suite` says: `challenge` adds MBPP's challenge tests, `plus` prefers
    the `test` script of MBPP+ to `test_list`. The parts are the numbers of tests and of those passed; the detail is
    a letter per test (P passed, F failed, E raised, T timeout, X died, O too much output) and the first reason.
    """
    suite = read_suite(metadata, answer, challenge, plus)
    sources = find_programs(completion, called_names(suite))
    settings = tuple(sorted(sandbox.items()))
    try:
        results = run_suite(_sandbox(settings), sources, suite, sandbox["seconds"])
    except SandboxGone:
        # Killed from outside, by the system when memory runs out for instance; whoever did it may do it again.
        _close()
        results = run_suite(_sandbox(settings), sources, suite, sandbox["seconds"])
    passed = Counter(result.verdict for result in results)["passed"]
    share = passed / len(results)
    return Score(
        share if partial else float(passed == len(results)),
        {"code.passed": float(passed), "code.tests": float(len(results))},
        _detail(results),
    )


def _detail(results: list[TestResult]) -> str:
    marks = "".join(_LETTERS[result.verdict] for result in results)
    reasons = [f"test {number}: {result.reason}" for number, result in enumerate(results, start=1) if result.reason]
    return "; ".join([marks, *reasons[:1]])


_open: list[Sandbox] = []


@cache
def _sandbox(settings: tuple[tuple[str, Any], ...]) -> Sandbox:
    options = dict(settings)
    sandbox = Sandbox(options.pop("mode"), Limits(**options))
    _open.append(sandbox)
    return sandbox


@atexit.register
def _close() -> None:
    _sandbox.cache_clear()
    while _open:
        _open.pop().close()
