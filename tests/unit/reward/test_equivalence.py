"""Which mathematical answers mean the same."""

import pytest

from components.reward.graders.equivalence import equivalent

SAME = [
    ("204_{5}", "204_5"),
    ("Even", "\\text{even}"),
    ("(C)", "\\text{(C)}"),
    ("C", "\\text{(C)}"),
    ("36", "\\$36"),
    ("36\\text{ dollars}", "\\$36"),
    ("\\$0.054", "5.4 \\text{ cents}"),
    ("0.5\\text{ km}", "500 \\text{ m}"),
    ("1 \\text{ m}^2", "10000 \\text{ cm}^2"),
    ("30 \\text{ degrees}", "30^\\circ"),
    ("12 apples", "12"),
    ("x > 2", "(2,\\infty)"),
    ("3 < x \\le 4", "(3,4]"),
    ("4 \\geq x > 3", "(3,4]"),
    ("0 \\ge x", "(-\\infty, 0]"),
    ("x \\in (3, 4]", "(3,4]"),
    ("\\{x \\mid x > 2\\}", "(2,\\infty)"),
    ("(9,36) \\cup (0,9)", "(0,9) \\cup (9,36)"),
    ("(-\\infty, 0)\\cup\\{0\\}", "(-\\infty, 0]"),
    ("7, 5 \\text{ and } 3", "3, 5, 7"),
    ("\\{7,5,3\\}", "3, 5, 7"),
    ("1\\frac{1}{2}", "\\frac{3}{2}"),
    ("15\\frac{39}{40}, \\frac{639}{40}", "\\frac{639}{40}"),
    ("\\frac9{19}", "\\frac{9}{19}"),
    ("10080", "10,\\!080"),
    ("1.6\\times 10^3", "1600"),
    ("15\\%", "0.15"),
    ("2x-y+3=0", "y = 2x + 3"),
    ("2x+3", "y = 2x + 3"),
    ("5", "x=5"),
    ("\\frac{1}{\\tan x}", "\\cot x"),
    ("5(3x-16)", "15x - 80"),
    ("\\sqrt{20}", "2 \\sqrt{5}"),
    ("9i+6", "6+9i"),
    ("6 + 9 i", "6+9i"),
    ("204_{\\text{five}}", "204_5"),
    ("8_9", "8"),
    ("1.6e3", "1600"),
    ("5.4¢", "5.4 \\text{ cents}"),
    ("12\\pi\\text{ cm}^2", "12\\pi"),
    ("x = 3, x = 5, x = 7", "3, 5, 7"),
    ("3; 5; 7", "3, 5, 7"),
    ("\\{x\\in\\mathbb{R} \\mid x>2\\}", "(2,\\infty)"),
    ("0<x<9 \\text{ or } 9<x<36", "(0,9) \\cup (9,36)"),
    ("(r,\\theta)=(3,\\frac{\\pi}{2})", "(3,\\frac{\\pi}{2})"),
    ("f(x) = 2x+3", "y = 2x + 3"),
    ("\\begin{pmatrix} -7 \\\\[4pt] 16 \\end{pmatrix}", "\\begin{pmatrix} -7 \\\\ 16 \\end{pmatrix}"),
    ("(3,\\pi/2)", "\\left( 3, \\frac{\\pi}{2} \\right)"),
    ("\\begin{bmatrix} -\\frac{2}{6} \\\\ 2 \\end{bmatrix}", "\\begin{pmatrix} -1/3 \\\\ 2 \\end{pmatrix}"),
]
DIFFERENT = [
    ("204", "204_5"),
    ("204_6", "204_5"),
    ("54", "204_5"),
    ("odd", "\\text{even}"),
    ("neve", "\\text{even}"),
    ("(E)", "\\text{(C)}"),
    ("5.4 \\text{ dollars}", "5.4 \\text{ cents}"),
    ("5 \\text{ kg}", "5 \\text{ m}"),
    ("31^\\circ", "30^\\circ"),
    ("[2,\\infty)", "(2,\\infty)"),
    ("x \\ge 2", "(2,\\infty)"),
    ("[3,4)", "(3,4]"),
    ("3, 5", "3, 5, 7"),
    ("15, 16", "15"),
    ("15 \\text{ or } 16", "15"),
    ("(4,2)", "(2,4)"),
    ("\\{2,4\\}", "(2,4)"),
    ("(2,102)", "(2,12) \\cup (12,102)"),
    ("y = 5", "x = 5"),
    ("y = 2x - 3", "y = 2x + 3"),
    ("0.333333", "\\frac{1}{3}"),
    ("0.0000001", "0"),
    ("\\tan x", "\\cot x"),
    ("1-274i", "1+274i"),
    ("10_9", "10"),
    ("12 i", "12"),
    ("[9, 36) \\cup (0,9)", "(0,9) \\cup (9,36)"),
    ("\\begin{pmatrix} -7 \\\\ 16 \\\\ -(5) \\end{pmatrix}", "\\begin{pmatrix} -7 \\\\ 16 \\\\ 5 \\end{pmatrix}"),
    ("\\begin{pmatrix} 1 & 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
    ("", "5"),
    ("9" * 5000, "9"),
    ("1/0", "1"),
]


@pytest.mark.parametrize(("found", "expected"), SAME)
def test_the_same_in_other_words(found, expected):
    assert equivalent(found, expected)


@pytest.mark.parametrize(("found", "expected"), DIFFERENT)
def test_something_else(found, expected):
    assert not equivalent(found, expected)
