"""MBPP's rows as prompts."""

import json

import pytest

from components.prepare.prompts import parse_prompts
from components.prepare.rows import Row

ROW = {
    "text": "Write a function to add.",
    "code": "def add(a, b):\n    return a + b",
    "task_id": 7,
    "test_setup_code": "",
    "test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"],
    "challenge_test_list": [],
}


def test_the_prompt_shows_the_first_test_and_the_metadata_hold_all():
    ((prompt,), bad) = parse_prompts([Row(1, ROW)], "mbpp.jsonl", "")
    assert bad == []
    assert prompt.prompt_id == "7"
    assert prompt.answer is None
    assert prompt.content.startswith("Write a function to add. ")
    assert "assert add(1, 2) == 3" in prompt.content
    assert "add(2, 2)" not in prompt.content
    assert "return a + b" not in prompt.content
    assert json.loads(prompt.metadata)["test_list"] == ROW["test_list"]
    assert "text" not in json.loads(prompt.metadata)


def test_rows_with_a_prompt_of_their_own_keep_it():
    ((prompt,), _) = parse_prompts([Row(1, {**ROW, "prompt": "Add!"})], "mbpp.jsonl", "")
    assert prompt.content == "Add!"
    assert json.loads(prompt.metadata)["text"] == ROW["text"]


SANITIZED = {
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "task_id": 7,
    "prompt": "Write a function to add.",
    "code": ROW["code"],
    "test_imports": [],
    "test_list": ROW["test_list"],
}


@pytest.mark.parametrize("more", [{}, {"test": "assert add(3, 3) == 6"}], ids=["sanitized", "MBPP+"])
def test_rows_whose_prompt_names_no_function_show_the_first_test_too(more):
    ((published,), _) = parse_prompts([Row(1, ROW)], "mbpp.jsonl", "")
    ((prompt,), bad) = parse_prompts([Row(1, {**SANITIZED, **more})], "mbpp.jsonl", "")
    assert bad == []
    assert (prompt.prompt_id, prompt.content) == ("7", published.content)
    assert json.loads(prompt.metadata)["test_list"] == ROW["test_list"]


@pytest.mark.parametrize(
    "prompt", ["Add! assert add(1, 2) == 3", [{"role": "user", "content": "Write a function to add."}]]
)
def test_prompts_with_the_test_and_messages_stay_as_they_are(prompt):
    ((found,), bad) = parse_prompts([Row(1, {**SANITIZED, "prompt": prompt})], "mbpp.jsonl", "")
    assert bad == []
    assert found.content == (prompt if isinstance(prompt, str) else tuple(prompt))
