"""The place of the final answer in a worked solution."""

import pytest

from components.contract.answers import final_answer


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
        ("**Answer:** $42$\nchecked", "A:", "$42$"),
        ("The answer is: 42 apples.", "A:", "42 apples"),
        ("DATA: 7", "A:", None),
        ("1 then -2.5 of them", "last", "-2.5"),
        ("none", "last", None),
        ("#### 1\n\\boxed{2}\nA: 3", "auto", "2"),
        ("#### 1\nA: 3", "auto", "1"),
        ("A: 3 and 4", "auto", "3 and 4"),
        ("it is 4", "auto", None),
    ],
)
def test_every_style_has_its_mark(text, style, answer):
    assert final_answer(text, style) == answer
