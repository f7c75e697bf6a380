"""The place of the final answer in a worked solution."""

import pytest

from components.contract.answers import REASONING, final_answer, without_reasoning


@pytest.mark.parametrize(
    ("text", "style", "answer"),
    [
        ("so $\\boxed{\\frac{1}{2}}$ it is", "boxed", "\\frac{1}{2}"),
        ("\\boxed{1}, no: \\boxed{2}", "boxed", "2"),
        ("\\boxed{3}$ and $\\boxed{5}", "boxed", "3, 5"),
        ("\\boxed{3}, \\boxed{3}", "boxed", "3"),
        ("\\boxed{\\{1, 2\\}}", "boxed", "\\{1, 2\\}"),
        ("\\fbox{4}", "boxed", "4"),
        ("\\boxed 5 apples", "boxed", "5"),
        ("\\boxed{cut off", "boxed", "cut off"),
        ("#### 42", "boxed", None),
        ("#### 41\nno\n#### 1,042\n", "####", "1,042"),
        ("A: 41\n\nA: 42.", "A:", "42"),
        ("**Answer:** $42$\nchecked", "A:", "42"),
        ("The answer is: 42 apples.", "A:", "42 apples"),
        ("DATA: 7", "A:", None),
        ("1 then -2.5 of them", "last", "-2.5"),
        ("none", "last", None),
        ("#### 1\n\\boxed{2}\nA: 3", "auto", "2"),
        ("#### 1\nA: 3", "auto", "1"),
        ("A: 3 and 4", "auto", "3 and 4"),
        ("it is 4", "auto", "4"),
        ("it is four", "auto", None),
    ],
)
def test_every_style_has_its_mark(text, style, answer):
    assert final_answer(text, style) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 72, which is the total.", "72"),
        ("Final Answer: The final answer is $72$. I hope it is correct.", "72"),
        ("#### 72, in total", "72"),
        ("#### $\\frac{1}{2}$ of the cake", "\\frac{1}{2}"),
        ("The answer is **72**.", "72"),
        ("The final answer is:\n\n\\[\n72\n\\]\n", "72"),
        ("**Final Answer**\n\n72", "72"),
        ("### Final Answer\n$x = 72$", "x = 72"),
        ("Answer: Janet makes 72 dollars every day.", "72 dollars"),
        ("The answer to the question is 72.", "72"),
        ("The correct answer would be \\(72\\), since 8 times 9 is 72.", "72"),
        ("The answer is $5$ or $6$.", "5, 6"),
        ("The answer is (3, 4), the midpoint.", "(3, 4)"),
        ("The answer is $72 (the 3 others are too young).", "$72"),
        ("The answer is $30$ degrees.", "30 degrees"),
        ("The answer is the interval $[0, 1)$ of length 1.", "[0, 1)"),
        ("The answer is 72. I hope my answer is correct.", "72"),
        ("Answer: 72\nNow let me check whether this answer is right.", "72"),
        ("The answer is Evelyn, because she is faster.", "Evelyn"),
        ("The answer is (C).", "(C)"),
        ("the answer is not 72", "not 72"),
        ("the answer is less than 72", "less than 72"),
        ("so there are 72.\n\n#### Conclusion\n\nDone.", "72"),
        ("#### Step 1: count\nThere are 72 of them.", "72"),
        ("#### 2. Add them up\nThis gives 72.", "72"),
        ("##### 5\nThis gives 72.", "72"),
        ("#### (B)", "(B)"),
        ("####\n72", "72"),
        ("so $x = 72$.", "x = 72"),
        ("He had $5 and got $67 more, that is $72.", "$72"),
        ("\\[ x = \\frac{1}{2} \\]", "x = \\frac{1}{2}"),
        ("the ratio is \\frac{3}{4}, I think, or 72", "72"),
    ],
)
def test_prose_around_an_answer_does_not_hide_it(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1 #### 2\nthe answer is 3 \\boxed{4}", "4"),
        ("\\boxed{4}\n#### 2\nthe answer is 3, not 1", "4"),
        ("the answer is 3\n#### 2\n1", "2"),
        ("the answer is 3. 1", "3"),
        ("3 or 1", "1"),
        ("\\boxed{\\boxed{4}}", "\\boxed{4}"),
        ("\\boxed{ \\frac{1}{2} and \\boxed{4}", "4"),
        ("\\boxed{4} and \\boxed{", "4"),
        ("\\boxed{4}" + "\n" * 500 + "Check: \\boxed{5}", "5"),
    ],
)
def test_marks_come_before_one_another(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("completion", "prompt", "end", "answer"),
    [
        ("<think>5</think>72", "", "auto", "72"),
        ("5</think>72", "<think>\n", "auto", "72"),
        ("5", "Q <think>\n", "auto", None),
        ("<think>5", "", "auto", None),
        ("72", "", "auto", "72"),
        ("72", "Q <think>\n\n</think>\n\n", "auto", "72"),
        ("<think>1</think>5<think>6</think>72", "", "auto", "72"),
        ("<think>1</think>72<think>6", "", "auto", None),
        ("5 [/THINK] 72", "", "auto", " 72"),
        ("5<done>72", "", "<done>", "72"),
        ("72", "", "<done>", None),
        ("<think>5", "", None, "<think>5"),
    ],
)
def test_reasoning_is_no_answer(completion, prompt, end, answer):
    assert without_reasoning(completion, prompt, end) == answer


@pytest.mark.parametrize(("end", "begin"), REASONING.items())
def test_every_mark_of_reasoning_cuts(end, begin):
    text = f"{begin}\\boxed{{5}}{end}\\boxed{{72}}"
    assert final_answer(text, reasoning_end="auto") == "72"
    assert final_answer(f"{begin}\\boxed{{5}}", reasoning_end="auto") is None
    assert final_answer(f"{begin}\\boxed{{5}}") == "5"
