"""Reading answers takes time linear in a completion's length, whatever a model repeats."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.contract.answers import final_answer
from components.mathematics.equivalence import equivalent
from components.mathematics.quantities import read_quantity
from components.results.majority import vote
from components.reward.graders.math import math
from components.reward.graders.numeric import numeric

PIECES = [
    "\\boxed{", "\\boxed{5}", "\\boxed ", "\\boxed", "}", "{", "####", "#### ", "#", "the answer is ", "Answer: ",
    "A:", "answer to the ", "final answer\n", "answer is correct. ", "$", "$$", "$ ", "\\[", "\\]", "\\(", "\\)",
    "\\$", " ", "\n", "\t", "-", "+", "\\,", "\\!", "{,}", "5", "5 ", "1,", ",000", "1,111", "1 000 ", "5/", ".",
    "0.", ";", "\\text{", "\\text{a}", "\\frac", "\\frac{1}{", "\\sqrt", "^", "^2", "_", "_{", "(", ")", "[", "]",
    "\\{", "|", "=", "x", "xy ", "word ", "and ", "or ", ", and ", "**", "__", "`", "\\", "\\\\", "&", "½", "%", "!",
    "²", "\\pm ", "\\cup ", "\\begin{pmatrix}", "\\end{pmatrix}", "<think>", "</think>", "\\color{", "\\overline{",
    "\\left", "\\left.", "not ", "million ", "\\circ", "^\\circ", "Check: ", "e5", "5e", "total ", "in ", "which ",
    "€", "a ", "9^", "sin ", "\\sin",
]  # fmt: skip
AROUND = [
    "{}",
    "\\boxed{{{}}}",
    "\\boxed{{5{}}}",
    "The answer is {}",
    "#### {}",
    "\\boxed{{5}}{}",
    "{}\\boxed{{5}}",
    "{}5",
    "${}$",
]
SECONDS = 6.0
"""For 60,000 characters, which take some hundredths; what is quadratic takes minutes."""


def seconds(read, *arguments, **options) -> float:
    begin = time.process_time()
    read(*arguments, **options)
    return time.process_time() - begin


@settings(deadline=None, max_examples=60, derandomize=True)
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=3), around=st.sampled_from(AROUND))
@example(pieces=["\\boxed{"], around="{}")
@example(pieces=["the answer is \\boxed{5}\n"], around="{}")
@example(pieces=["\n"], around="\\boxed{{5}}{}Check: \\boxed{{5}}")
@example(pieces=[" "], around="\\boxed{{5{}}}")
@example(pieces=["("], around="\\boxed{{{}}}")
@example(pieces=["-"], around="\\boxed{{{}}}")
@example(pieces=["\\,"], around="\\boxed{{5{}}}")
@example(pieces=["1,"], around="{}")
@example(pieces=["answer to "], around="{}")
def test_no_completion_takes_quadratic_time(pieces, around):
    unit = "".join(pieces)
    text = around.format(unit * (60_000 // len(unit)))
    for read in (numeric, math):
        assert seconds(read, text, "5") < SECONDS
    assert seconds(vote, text) < SECONDS
    for style in ("boxed", "####", "A:", "last"):
        assert seconds(final_answer, text, style) < SECONDS


@pytest.mark.parametrize("grader", [numeric, math])
@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("\\boxed{5}" + "\n" * 500 + "Check: \\boxed{5}", 1.0),
        ("\\boxed{" * 6_000, 0.0),
        ("\\boxed{" * 6_000 + "5}", 1.0),
        ("the answer is \\boxed{5}\n" * 2_500, 1.0),
        ("\\boxed{5}" + " " * 50_000, 1.0),
        ("\\boxed{" + " " * 50_000 + "5}", 1.0),
        ("\\boxed{5" + "\\," * 50_000 + "}", 1.0),
        ("The answer is 5." + "\\," * 50_000, 1.0),
        ("\\boxed{" + "-" * 50_000 + "5}", 0.0),
        ("\\boxed{" + "(" * 50_000 + "5" + ")" * 50_000 + "}", 0.0),
        ("[" * 50_000 + "\\boxed{5}", 1.0),
        ("- " * 50_000 + "#### 5", 1.0),
        ("#### 5\n" * 10_000, 1.0),
        ("<think>" * 10_000 + "</think>\\boxed{5}", 1.0),
        ("<think>" * 10_000 + "\\boxed{5}", 0.0),
        ("5, " * 20_000 + "\\boxed{5}", 1.0),
        ("\\boxed{" + "5, " * 20_000 + "6}", 0.0),
        ("$5$ " * 20_000, 1.0),
        ("\\boxed{5} \\boxed{5} " * 5_000, 1.0),
        ("wait, the answer is 4. " * 5_000 + "The answer is 5.", 1.0),
    ],
)
def test_a_looping_completion_gets_its_reward(grader, completion, reward):
    assert grader(completion, "5") == reward


@settings(deadline=None, max_examples=300, derandomize=True)
@given(found=st.lists(st.sampled_from(PIECES), max_size=12), expected=st.lists(st.sampled_from(PIECES), max_size=12))
def test_no_answer_breaks_the_comparison(found, expected):
    mine, gold = "".join(found), "".join(expected)
    assert equivalent(mine, gold) in (True, False)
    read_quantity(mine)
