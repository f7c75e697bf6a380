"""Rows of GSM8K, MATH and MiniF2F as they are published."""

import json
import os
from pathlib import Path

import pytest

from components.prepare.formats import parse_rows
from components.prepare.prompts import parse_prompts
from components.prepare.rows import BadRow, Row

SHARED = Path(os.environ.get("RAPID_SHARED", Path(__file__).parents[3] / ".." / "shared"))
STATEMENT = "theorem two : 1 + 1 = 2 := by sorry"


def parse(*rows):
    return parse_prompts([Row(i, row) for i, row in enumerate(rows, start=1)], "data.jsonl", "")


def test_gsm8k_rows_keep_the_worked_solution_as_metadata():
    (prompt,), bad = parse({"question": "How many?", "answer": "6 * 7 = <<6*7=42>>42.\n#### 42"})
    assert (prompt.content, prompt.answer, bad) == ("How many?", "42", [])
    assert json.loads(prompt.metadata) == {"solution": "6 * 7 = <<6*7=42>>42.\n#### 42"}


@pytest.mark.parametrize(("answer", "expected"), [("#### 1,000", "1,000"), ("42", "42"), (42, "42")])
def test_questions_with_a_bare_answer(answer, expected):
    (prompt,), _ = parse({"question": "How many?", "answer": answer})
    assert prompt.answer == expected


def test_math_rows_with_and_without_an_answer_column():
    with_answer = {"problem": "p", "solution": "\\boxed{9}", "answer": "7", "subject": "Algebra", "level": 2}
    without = {"problem": "q", "solution": "so $\\boxed{\\frac{1}{2}}$.", "level": "Level 2", "type": "Algebra"}
    (first, second), bad = parse(with_answer, without)
    assert (first.content, first.answer, second.answer, bad) == ("p", "7", "\\frac{1}{2}", [])
    assert json.loads(first.metadata) == {"solution": "\\boxed{9}", "subject": "Algebra", "level": 2}


def test_a_math_row_without_any_answer_is_a_bad_row():
    _, bad = parse({"problem": "p", "solution": "see above"})
    assert bad == [BadRow(1, "neither an answer nor a solution with a \\boxed answer")]


def test_minif2f_rows_ask_for_the_whole_theorem():
    (prompt,), _ = parse({"name": "two", "split": "valid", "header": "import Mathlib\n", "formal_statement": STATEMENT})
    assert prompt.content.endswith(f"```lean4\nimport Mathlib\n\n{STATEMENT}\n```")
    assert (prompt.prompt_id, prompt.answer) == ("two", None)
    assert json.loads(prompt.metadata)["formal_statement"] == STATEMENT


def test_a_statement_that_is_proved_already_is_a_bad_row():
    _, bad = parse({"formal_statement": "theorem two : 1 + 1 = 2 := rfl"})
    assert bad == [BadRow(1, "formal_statement does not end in sorry")]


@pytest.mark.parametrize(("name", "rows"), [("gsm8k_train", 7473), ("math500_half", 250), ("minif2f_valid", 244)])
def test_published_files_are_read_without_a_bad_row(name, rows):
    path = SHARED / "data" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set RAPID_SHARED to the folder that holds data/{name}.jsonl")
    found, unreadable = parse_rows(path.read_bytes(), str(path))
    prompts, bad = parse_prompts(found, str(path), "")
    assert (len(prompts), unreadable, bad) == (rows, [], [])
    assert all(prompt.answer for prompt in prompts) == (name != "minif2f_valid")
