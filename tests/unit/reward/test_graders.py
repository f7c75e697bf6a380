"""The built-in graders on their own."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.reward.graders.math import math
from components.reward.graders.numeric import final_number, numeric
from components.reward.graders.text import exact, length, regex

FIXTURES = Path(__file__).parents[2] / "fixtures"


def score(grader, completion, answer=None, **options):
    return grader(completion, answer, **options)


@pytest.mark.parametrize(
    ("completion", "answer", "expected"), [(" 42\n", "42", 1.0), ("42.", "42", 0.0), ("a b", "a  b", 0.0)]
)
def test_exact_ignores_only_the_ends(completion, answer, expected):
    assert score(exact, completion, answer) == expected


@pytest.mark.parametrize("grader", [exact, math])
def test_a_missing_answer_is_not_a_zero(grader):
    with pytest.raises(ValueError, match="has none"):
        score(grader, "42", None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("it is 1,234,567.50", Fraction("1234567.5")),
        ("#### -12", -12),
        ("16-3", 3),
        ("so x = -3", -3),
        ("x\u22125 gives \u22125", -5),
        ("Answer: $1/3$ of 9", Fraction(1, 3)),
        ("**Answer**: 7\nchecked 3 times", 7),
        ("the answer is 3 + 4 = 7 apples", 7),
        ("A: -1.8 billion", Fraction("-1.8e9")),
        ("costs -$5", -5),
        ("\\boxed{42} because 7", 42),
        ("2.5e3", 2500),
        ("about 12%.", 12),
        ("1,2,3", 3),
        ("A: none\nbut 4", None),
        ("no number", None),
        ("1/0", None),
        ("9" * 5000, None),
        ("1e999999999", 999999999),
    ],
)
def test_final_number(text, value):
    assert final_number(text) == value


@settings(deadline=None)
@given(number=st.decimals(allow_nan=False, allow_infinity=False, places=3), form=st.sampled_from(["{}", "{:,}"]))
def test_final_number_reads_back_what_was_written(number, form):
    written = form.format(number)
    assert final_number(f"2 + 2 is 4\nA: {written} in all") == Fraction(number)
    assert final_number(f"2 and {written}") == Fraction(number)


def test_numeric_compares_exactly_unless_told():
    assert score(numeric, "A: 0.50", "1/2") == 1.0
    assert score(numeric, "A: 12345678901", "12345678902") == 0.0
    assert score(numeric, "A: 0.333", "1/3") == 0.0
    assert score(numeric, "A: 0.333", "1/3", relative_tolerance=0.01) == 1.0
    assert score(numeric, "A: -0.333", "1/3", relative_tolerance=0.01) == 0.0
    assert score(numeric, "nothing", "3") == 0.0


def test_numeric_without_a_number_to_compare_with():
    with pytest.raises(ValueError, match="use the grader math"):
        score(numeric, "3", "three")


@pytest.mark.parametrize(
    "gold",
    [
        "2\\sqrt{3}",
        "\\pi",
        "x+1",
        "5 x",
        "(3,4)",
        "3, 4",
        "[0,1)",
        "\\text{even}",
        "three",
        "",
        "9^{9^9}",
        "1/0",
        "3 or 4",
        "x",
    ],
)
def test_numeric_refuses_an_answer_it_cannot_represent(gold):
    for completion in ("3", "4", "2", "5", gold):
        with pytest.raises(ValueError, match="use the grader math"):
            score(numeric, completion, gold)


@pytest.mark.parametrize(
    ("completion", "gold", "expected"),
    [
        ("\\boxed{4}", "\\frac{3}{4}", 0.0),
        ("\\boxed{3}", "\\frac{3}{4}", 0.0),
        ("\\boxed{\\frac34}", "\\frac{3}{4}", 1.0),
        ("the answer is 0.75", "\\frac{3}{4}", 1.0),
        ("#### 2½", "5/2", 1.0),
        ("#### 1 1/2", "1.5", 1.0),
        ("\\boxed{9{,}500}", "9,500", 1.0),
        ("\\boxed{3\\times10^8}", "300000000", 1.0),
        ("A: 6 \\cdot 7 = 42", "42", 1.0),
        ("A: 42 = 43", "42", 0.0),
        ("#### 12%", "0.12", 1.0),
        ("#### 12%", "12", 1.0),
        ("#### €5", "$5", 0.0),
        ("#### $5", "5", 1.0),
        ("#### 50 cents", "$0.50", 1.0),
        ("#### 5 x", "5", 0.0),
        ("#### 5 million", "5", 0.0),
        ("\\boxed{5, 6}", "5", 0.0),
        ("\\boxed{\\sqrt{25}}", "5", 1.0),
        ("\\boxed{5\\pi}", "5", 0.0),
        ("Answer: she has 5 of them left, and 3 are gone", "5", 1.0),
        ("The total is 72.", "The total is 72.", 1.0),
        ("the answer is not 5", "5", 0.0),
        ("the answer is less than 5", "5", 0.0),
        ("<think>5</think>6", "5", 0.0),
        ("<think>\\boxed{5}", "5", 0.0),
    ],
)
def test_numeric_reads_what_math_reads(completion, gold, expected):
    assert score(numeric, completion, gold) == expected


@pytest.mark.parametrize("grader", [numeric, math])
def test_reasoning_does_not_count(grader):
    assert score(grader, "<think>it may be \\boxed{4}</think>It is \\boxed{5}.", "5") == 1.0
    assert score(grader, "<think>it may be \\boxed{5}</think>It is \\boxed{4}.", "5") == 0.0
    assert score(grader, "<think>it may be \\boxed{5}", "5") == 0.0
    assert score(grader, "<think>it may be \\boxed{5}", "5", reasoning_end=None) == 1.0
    assert score(grader, "it is 4 | it is 5", "5", reasoning_end="|") == 1.0
    assert score(grader, "it is 5", "5", reasoning_end="|") == 0.0
    assert grader("\\boxed{5}", "5", "2+3? <think>\n") == 0.0


def test_text_graders_cut_reasoning_too():
    assert score(exact, "<think>no\n</think>\n\n42", "42") == 1.0
    assert score(exact, "<think>42", "42") == 0.0
    assert score(exact, "<think>42", "<think>42", reasoning_end=None) == 1.0
    assert score(regex, "<think>4</think>5", pattern="<think>") == 1.0
    assert score(regex, "<think>4</think>5", pattern="4", reasoning_end="auto") == 0.0
    assert score(regex, "<think>4", pattern="4", reasoning_end="auto") == 0.0


def test_regex_searches_or_compares_the_last_match():
    assert score(regex, "<a>4</a>", pattern="<a>.*</a>") == 1.0
    assert score(regex, "4", pattern="<a>.*</a>") == 0.0
    assert score(regex, "<a>4</a> no, <a> 5 </a>", "5", pattern="<a>(.*?)</a>", group=1) == 1.0
    assert score(regex, "<a>5</a> no, <a>4</a>", "5", pattern="<a>(?P<x>.*?)</a>", group="x") == 0.0


@pytest.mark.parametrize(("tokens", "expected"), [(80, 0.0), (90, -0.5), (100, -1.0), (101, -1.0), (1, 0.0)])
def test_length_penalty_falls_over_the_buffer(tokens, expected):
    assert length("", {"completion_tokens": tokens}, max_tokens=100) == pytest.approx(expected)


def test_length_counts_characters_too():
    assert length("x" * 95, {}, max_characters=100, buffer=10) == pytest.approx(-0.5)
    assert length("x" * 100, {}, max_characters=100, buffer=0) == 0.0
    with pytest.raises(ValueError, match="one of the options"):
        length("x", {})


@pytest.mark.parametrize(
    ("completion", "answer", "expected"),
    [
        ("so $\\boxed{\\frac{2}{4}}$", "\\frac{1}{2}", 1.0),
        ("The answer is $0.5$.", "1/2", 1.0),
        ("\\boxed{x+1}", "1+x", 1.0),
        ("\\boxed{3}", "4", 0.0),
        ("I do not know", "4", 0.0),
    ],
)
def test_math_knows_equivalent_forms(completion, answer, expected):
    assert score(math, completion, answer) == expected


def test_graders_agree_with_labels_of_real_completions():
    for name, grader in (("gsm8k_completions", numeric), ("math_completions", math)):
        rows = [json.loads(line) for line in (FIXTURES / f"{name}.jsonl").read_text().splitlines()]
        assert {row["is_correct"] for row in rows} == {True, False}
        assert [score(grader, r["completion"], r["answer"]) for r in rows] == [float(r["is_correct"]) for r in rows]
