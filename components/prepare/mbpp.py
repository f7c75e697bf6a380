"""Rows of MBPP as they come: `text`, `code`, `test_list`, `test_setup_code`, `challenge_test_list`."""

from typing import Any


def with_prompt(columns: dict[str, Any]) -> dict[str, Any]:
    """A row with the column `prompt`; other rows as they are.

    The prompt shows one test, from which the function's name and arguments are known. The others stay hidden: a
    program that only knows the answers it was shown passes none of them.
    """
    tests = columns.get("test_list")
    if "prompt" in columns or not isinstance(columns.get("text"), str) or not isinstance(tests, list) or not tests:
        return columns
    prompt = (
        f"{columns['text'].strip()} Write Python, in one fenced block. Your program shall pass this test, and others "
        f"like it:\n\n{tests[0]}\n"
    )
    return {**{key: value for key, value in columns.items() if key != "text"}, "prompt": prompt}
