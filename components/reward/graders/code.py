"""Programs, run against tests in the sandbox."""

import atexit
from collections import Counter
from functools import cache
from typing import Any

from components.contract.answers import without_reasoning
from components.reward.graders import grader
from components.reward.score import Score
from components.sandbox.extraction import find_programs
from components.sandbox.runner import TestResult, run_suite
from components.sandbox.sandbox import Limits, Sandbox, SandboxGone
from components.sandbox.suite import Asserts, called_names, read_suite

_LETTERS = {"passed": "P", "failed": "F", "raised": "E", "timeout": "T", "died": "X", "killed": "X", "output": "O"}


@grader(version="2", runs_programs=True)
def code(
    completion: str,
    answer: str | None,
    metadata: dict[str, Any],
    prompt: str = "",
    *,
    sandbox: dict[str, Any],
    partial: bool = False,
    challenge: bool = False,
    plus: bool = False,
    exact_output: bool = False,
    reasoning_end: str | None = "auto",
) -> Score:
    """Return 1 where the completion's program passes every test of the prompt, else 0.

    Args:
        sandbox: mode and limits, as `components.sandbox.modes.sandbox_options` returns them.
        partial: return the share of tests that pass.
        challenge: add MBPP's challenge tests.
        plus: prefer the `test` script of MBPP+ to `test_list`.
        exact_output: compare lines of output as they are, not word by word with a tolerance for numbers.
        reasoning_end: the mark that ends the reasoning (`components.contract.answers.without_reasoning`).

    Returns:
        The score; its parts are the numbers of tests and of passed tests, its detail a letter per test (P passed,
        F failed, E raised, T timeout, X died, O too much output) and the first reason.

    Raises:
        ValueError: the prompt has no tests, or one of them cannot run whatever the program is.
    """
    suite = read_suite(metadata, answer, challenge, plus, prompt)
    text = without_reasoning(completion, prompt, reasoning_end)
    if text is None:
        return Score(0.0, {}, "the reasoning does not end")
    beginning = suite.given if isinstance(suite, Asserts) and suite.entry else ""
    sources = find_programs(text, called_names(suite), beginning)
    settings = tuple(sorted(sandbox.items()))
    try:
        results = run_suite(_sandbox(settings), sources, suite, sandbox["seconds"], exact_output)
        killed = any(result.verdict == "killed" for result in results)
    except SandboxGone:
        killed = True
    if killed:
        # Perhaps from outside, for instance because memory ran out. It may happen once.
        _close()
        results = run_suite(_sandbox(settings), sources, suite, sandbox["seconds"], exact_output)
    for number, result in enumerate(results, start=1):
        if result.verdict == "unrunnable":
            raise ValueError(f"test {number} cannot run: {result.reason}")
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
