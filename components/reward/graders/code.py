"""Programs, run against tests in the sandbox."""

import atexit
from collections import Counter
from functools import cache
from typing import Any

from components.reward.graders import grader
from components.reward.score import Score
from components.sandbox.extraction import find_programs
from components.sandbox.runner import TestResult, run_suite
from components.sandbox.sandbox import Limits, Sandbox, SandboxGone
from components.sandbox.suite import called_names, read_suite

_LETTERS = {"passed": "P", "failed": "F", "raised": "E", "timeout": "T", "died": "X", "output": "O"}


@grader(version="1", runs_programs=True)
def code(
    completion: str,
    answer: str | None,
    metadata: dict[str, Any],
    *,
    sandbox: dict[str, Any],
    partial: bool = False,
    challenge: bool = False,
    plus: bool = False,
) -> Score:
    """Return 1 where the completion's program passes every test of the prompt, else 0.

    Args:
        sandbox: mode and limits, as `components.sandbox.modes.sandbox_options` returns them.
        partial: return the share of tests that pass.
        challenge: add MBPP's challenge tests.
        plus: prefer the `test` script of MBPP+ to `test_list`.

    Returns:
        The score; its parts are the numbers of tests and of passed tests, its detail a letter per test (P passed,
        F failed, E raised, T timeout, X died, O too much output) and the first reason.
    """
    suite = read_suite(metadata, answer, challenge, plus)
    sources = find_programs(completion, called_names(suite))
    settings = tuple(sorted(sandbox.items()))
    try:
        results = run_suite(_sandbox(settings), sources, suite, sandbox["seconds"])
    except SandboxGone:
        # Killed from outside, for instance because memory ran out. It may happen once.
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
    letters = "".join(_LETTERS[result.verdict] for result in results)
    reasons = [f"test {number}: {result.reason}" for number, result in enumerate(results, start=1) if result.reason]
    return "; ".join([letters, *reasons[:1]])


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
