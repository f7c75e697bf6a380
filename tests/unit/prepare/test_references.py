"""Reference answers that the grader `numeric` cannot compare with."""

import pytest

from components.contract.reward_config import RewardSection
from components.prepare.prompts import Prompt
from components.prepare.references import unfit_references


def prompts(*answers, file=""):
    return [Prompt(number, f"p{number}", "q", answer, "{}", file) for number, answer in enumerate(answers, start=1)]


def found(*answers, graders="numeric", file=""):
    return unfit_references(RewardSection.parse({"graders": graders}, "reward"), prompts(*answers, file=file))


@pytest.mark.parametrize("answer", ["2\\sqrt{3}", "(3, 4)", "\\pi", "x + 1", "", None, "[0,1)", "\\text{even}", "1+2i"])
def test_they_are_counted_and_the_first_is_named(answer):
    (line,) = found("1", answer, "3/4", answer, graders=["exact", {"name": "numeric", "weight": 0.5}])
    assert line.startswith("the grader numeric cannot grade 2 of 4 prompts, whose answers are not rational numbers")
    written = "no answer" if answer is None else repr(answer)
    assert line.endswith(f"(first row 2: {written}); use the grader math")


@pytest.mark.parametrize("answer", ["5", "1,000", "\\frac{3}{4}", "-0.5", "3e8", "#### 72", "$18", "50%", "1\\frac12"])
def test_numbers_are_not(answer):
    assert found(answer) == []


@pytest.mark.parametrize("graders", ["math", ["exact", "math"], [{"name": "math", "label": "numeric"}]])
def test_other_graders_take_them(graders):
    assert found("2\\sqrt{3}", graders=graders) == []


def test_the_file_is_named_where_there_are_several():
    (line,) = found("x", file="b.jsonl")
    assert "(first b.jsonl row 1: 'x')" in line
