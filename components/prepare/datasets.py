"""Rows of known data sets, brought to the plain columns `prompt` and `answer`.

| data set | columns                                  | prompt                    | answer                             |
|----------|------------------------------------------|---------------------------|------------------------------------|
| GSM8K    | `question`, `answer`                     | the question              | what follows `####`                |
| MATH     | `problem`, `answer` or `solution`        | the problem               | `answer`, else the boxed one       |
| MiniF2F  | `formal_statement`, `header` (Lean 4)    | the statement to complete | none; graded from the metadata     |
| MBPP     | `text`, `test_list`                      | the text and one test     | none; graded from the metadata     |
| MBPP+    | `prompt`, `test_list`, `code`, no `text` | the prompt and one test   | none; graded from the metadata     |

MBPP's sanitized rows have the columns of MBPP+. A prompt of theirs that shows the test already, or is a list of
messages, stays as it is.

Every other column stays, and so becomes metadata.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components.contract.answers import final_answer, last_boxed

Columns = dict[str, Any]


@dataclass(frozen=True)
class Adapter:
    """`needs` are the columns it is recognised by; `adapt` raises ValueError where a row cannot be used."""

    needs: frozenset[str]
    adapt: Callable[[Columns], Columns]


def _gsm8k(row: Columns) -> Columns:
    prompt, worked = row.pop("question"), row.pop("answer")
    answer = final_answer(worked, "####") if isinstance(worked, str) else None
    solution = {} if answer is None else {"solution": worked}
    return {**row, **solution, "prompt": prompt, "answer": worked if answer is None else answer}


def _math(row: Columns) -> Columns:
    prompt, solution = row.pop("problem"), row.get("solution")
    if row.get("answer") is None:
        boxed = last_boxed(solution) if isinstance(solution, str) else None
        if boxed is None:
            raise ValueError("neither an answer nor a solution with a \\boxed answer")
        row["answer"] = boxed
    return {**row, "prompt": prompt}


def _minif2f(row: Columns) -> Columns:
    statement, header = row["formal_statement"], row.get("header") or ""
    if not isinstance(statement, str) or not statement.rstrip().endswith("sorry"):
        raise ValueError("formal_statement does not end in sorry")
    prompt = (
        "Complete the proof of this Lean 4 theorem. Answer with the whole theorem in one ```lean4 block, its statement "
        f"unchanged.\n\n```lean4\n{header.rstrip()}\n\n{statement.strip()}\n```"
    )
    named = {"prompt_id": row["name"]} if row.get("name") else {}
    return {**named, **row, "prompt": prompt}


def _mbpp(row: Columns) -> Columns:
    text, tests = row.pop("text"), row["test_list"]
    if not isinstance(text, str) or not isinstance(tests, list) or not tests:
        raise ValueError("text is not a string, or test_list is not a list of tests")
    return {**row, "prompt": _with_a_test(text, tests[0])}


def _mbpp_plus(row: Columns) -> Columns:
    prompt, tests = row["prompt"], row["test_list"]
    if not isinstance(prompt, str) or not isinstance(tests, list) or not tests or str(tests[0]) in prompt:
        return row
    return {**row, "prompt": _with_a_test(prompt, tests[0])}


def _with_a_test(text: str, test: object) -> str:
    """Add one test to the prompt, which gives the function's name and arguments.

    The other tests stay hidden, so that a program that repeats the answers it was shown passes none of them.
    """
    return (
        f"{text.strip()} Write Python, in one fenced block. Your program shall pass this test, and others "
        f"like it:\n\n{test}\n"
    )


ADAPTERS = (
    Adapter(frozenset({"formal_statement"}), _minif2f),
    Adapter(frozenset({"question", "answer"}), _gsm8k),
    Adapter(frozenset({"problem"}), _math),
    Adapter(frozenset({"text", "test_list"}), _mbpp),
)
_MBPP_PLUS = Adapter(frozenset({"prompt", "test_list", "code"}), _mbpp_plus)


def adapter_of(columns: set[str]) -> Adapter | None:
    """Return the adapter for rows with these columns; None where they are plain, TRL or verl rows, or not known."""
    if "prompt" in columns:
        return _MBPP_PLUS if _MBPP_PLUS.needs <= columns and "text" not in columns else None
    return next((adapter for adapter in ADAPTERS if adapter.needs <= columns), None)
