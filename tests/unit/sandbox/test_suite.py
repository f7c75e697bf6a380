"""Test suites read from rows of data sets."""

import json

import pytest

from components.sandbox.suite import Asserts, Pairs, are_plain_calls, called_names, read_suite

PLUS = """
import numpy as np
from math import inf

def assertion(out, exp, atol):
    assert out == exp

inputs = [[[1, 2], 3], [(4,), 5]]
results = [{1, 2}, 0.5]
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assertion(find_it(*inp), exp, 0)
"""


def suite(metadata=None, answer=None, challenge=False, plus=False):
    return read_suite(metadata or {}, answer, challenge, plus)


def test_mbpp_rows():
    row = {"test_list": ["assert f(1) == 2"], "challenge_test_list": ["assert f(2) == 3"], "test_setup_code": ""}
    assert suite(row) == Asserts("", ("assert f(1) == 2",))
    assert len(suite(row, challenge=True).tests) == 2
    assert suite({**row, "test_setup_code": "x = 1\n"}) == Asserts("x = 1", ("assert f(1) == 2",))
    assert suite({**row, "test_imports": ["import math"]}) == Asserts("import math", ("assert f(1) == 2",))
    assert suite({"test_list": json.dumps(row["test_list"])}) == suite(row)


def test_classes_of_the_set_up_go_to_the_program_too():
    setup = "import math\nRATE = 3\nroot = build()\nclass A: pass\ndef same(a, b): ...\nclass T(unittest.TestCase): ..."
    found = suite({"test_list": ["assert f(1)"], "test_setup_code": setup})
    assert found == Asserts(setup, ("assert f(1)",), "import math\nRATE = 3\nclass A:\n    pass")
    assert suite({"test_list": ["assert f(1)"], "test_setup_code": "class A: pass\n("}).given == ""


def test_mbpp_plus_scripts_are_calls():
    row = {"test_list": ["assert find_it([1], 3) == {1}"], "test": PLUS}
    assert suite(row) == Asserts("", ("assert find_it([1], 3) == {1}",))
    assert suite(row, plus=True).tests == (
        "assert __close__(find_it([1, 2], 3), {1, 2}, 1e-06)",
        "assert __close__(find_it((4,), 5), 0.5, 1e-06)",
    )


def test_humaneval_scripts_are_one_test():
    script = "def check(candidate):\n    assert candidate(1) == 2\n"
    assert suite({"test": script, "entry_point": "f"}) == Asserts("", (script + "\n\ncheck(f)",), "", "f")
    opening = 'import math\n\ndef f(x):\n    """ Return x. """\n'
    for prompt in (opening, f"Complete this:\n```python\n{opening}```", f"<|user|>\n{opening}"):
        found = read_suite({"test": script, "entry_point": "f"}, None, False, False, prompt)
        assert found.given.rstrip() == opening.rstrip()
        assert called_names(found) == ["f"]


@pytest.mark.parametrize(
    ("test", "plain"),
    [
        ("assert f(1, [2, {3}]) == (4,)", True),
        ("assert not f(x=-1.5), 'message'", True),
        ("assert f(g(1)) == 2", False),
        ("assert f(x) == 1", False),
        ("assert f(9 ** 9 ** 9) == 1", False),
        ("assert a.f(1) == 1", False),
        ("assert f(lambda: 1)", False),
        ("assert [f(1) for _ in 'ab']", False),
        ("import os\nassert f(1)", False),
        ("assert (", False),
    ],
)
def test_plain_calls_have_no_code_of_their_own(test, plain):
    assert are_plain_calls(Asserts("", (test,))) is plain
    assert not are_plain_calls(Asserts("x = 1", (test,)))


def test_pairs():
    text = json.dumps({"inputs": ["1\n", ["2", "3"]], "outputs": ["2", 4]})
    pairs = Pairs((("1\n", "2"), ("2\n3", "4")))
    assert suite({"input_output": text}) == suite(answer=text) == pairs
    assert called_names(pairs) == []


def test_asserts_in_the_answer():
    expected = Asserts("", ("assert f(1) == 2", "assert f(2)"))
    assert suite(answer="assert f(1) == 2\nassert f(2)\n") == expected
    assert suite(answer=json.dumps(["assert f(1) == 2", "assert f(2)"])) == expected
    assert called_names(expected) == ["f"]


@pytest.mark.parametrize("metadata", [{}, {"test_list": []}, {"input_output": '{"inputs": [1]}'}, {"test": ""}])
def test_a_prompt_without_tests_is_refused(metadata):
    with pytest.raises(ValueError, match="no tests"):
        suite(metadata)


def test_call_based_rows_are_refused():
    """Their inputs are arguments: read as texts for standard input, they would fail every right program."""
    row = {"fn_name": "sq", "inputs": [[3]], "outputs": [9]}
    for given in ({"metadata": {"input_output": json.dumps(row)}}, {"answer": json.dumps(row)}):
        with pytest.raises(ValueError, match=r"call-based rows are not supported.*'sq'"):
            suite(**given)
    assert suite({"input_output": {**row, "fn_name": None, "inputs": ["3"]}}) == Pairs((("3", "9"),))


def test_unequal_pairs_are_refused():
    with pytest.raises(ValueError, match="2 inputs and 1 outputs"):
        suite({"input_output": {"inputs": ["1", "2"], "outputs": ["1"]}})
