"""Built-in graders, and the decorator that declares them.

A grader is a function that names the arguments it needs, and its own options:

    prompt, completion, answer, metadata        for one completion; returns a number
    prompts, completions, answers, metadata     for a batch, each a list; returns a list of numbers or exceptions

`metadata` is a dict of the prompt's other columns and `completion_tokens`; a batch gets a list of them. A grader may be
`async def`. A number may be a `components.reward.score.Score`, which carries more components and a detail.

A function in this folder becomes a built-in grader, under its own name, by the decorator `grader`. Its options are
keyword-only, its module is imported in grading processes only, and its docstring is its documentation
(`python -m components.reward.graders`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declaration:
    """The arguments of `grader`, found as the attribute `declaration` of a grader."""

    version: str
    check: Callable[..., str | None] | None
    runs_programs: bool


def grader(
    *, version: str, check: Callable[..., str | None] | None = None, runs_programs: bool = False
) -> Callable[[Function], Function]:
    """Declare a built-in grader.

    Args:
        version: stored with every reward; change it whenever the same completion may score differently.
        check: called before anything is graded, with those of the grader's options (and `time_limit`, in seconds) that
            it names. It raises ValueError where they cannot work, and may return a text to add to the version.
        runs_programs: the grader runs programs that a model wrote, and gets a sandbox's settings as `sandbox`. Written
            as a literal: it is read from the source, before the module is imported.
    """

    def declare(function: Function) -> Function:
        function.declaration = Declaration(version, check, runs_programs)  # type: ignore[attr-defined]
        return function

    return declare
