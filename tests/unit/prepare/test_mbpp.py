"""MBPP's rows as prompts."""

import json
from pathlib import Path

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
    ((prompt,), bad) = parse_prompts([Row(1, ROW)], Path("mbpp.jsonl"), "")
    assert bad == []
    assert prompt.prompt_id == "7"
    assert prompt.answer is None
    assert prompt.content.startswith("Write a function to add. ")
    assert "assert add(1, 2) == 3" in prompt.content
    assert "add(2, 2)" not in prompt.content
    assert "return a + b" not in prompt.content
    assert json.loads(prompt.metadata)["test_list"] == ROW["test_list"]


def test_rows_with_a_prompt_of_their_own_keep_it():
    ((prompt,), _) = parse_prompts([Row(1, {**ROW, "prompt": "Add!"})], Path("mbpp.jsonl"), "")
    assert prompt.content == "Add!"
    assert json.loads(prompt.metadata)["text"] == ROW["text"]
