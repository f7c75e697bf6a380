"""Test suites read from rows of data sets."""

import json

import pytest

from components.sandbox.suite import Asserts, Call, Calls, Pairs, called_names, parse_call, read_suite

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


@pytest.mark.parametrize(
    ("test", "call"),
    [
        ("assert f(1, [2, {3}]) == (4,)", Call("f", (1, [2, {3}]), {}, "equal", (4,))),
        ("assert f(x=-1.5) == 2j, 'message'", Call("f", (), {"x": -1.5}, "equal", 2j)),
        ("assert [1] == f()", Call("f", (), {}, "equal", [1])),
        ("assert f('a')", Call("f", ("a",), {}, "true")),
        ("assert not f(b'a')", Call("f", (b"a",), {}, "false")),
        ("assert (f(None)) == True", Call("f", (None,), {}, "equal", True)),
    ],
)
def test_calls_with_plain_values_are_read(test, call):
    assert parse_call(test) == call


@pytest.mark.parametrize(
    "test",
    [
        "assert f(g(1)) == 2",
        "assert f(1) == g(2)",
        "assert f(x) == 1",
        "assert a.f(1) == 1",
        "assert f(1) is None",
        "assert f(1) < 2",
        "assert len(f(1)) == 2",
        "assert math.isclose(f(1), 2)",
        "f(1)",
        "assert f(*[1]) == 1",
        "assert f(1) == 1; g()",
        "assert (",
    ],
)
def test_every_other_test_runs_as_an_assert(test):
    assert parse_call(test) is None


def test_mbpp_rows():
    row = {"test_list": ["assert f(1) == 2"], "challenge_test_list": ["assert f(2) == 3"], "test_setup_code": ""}
    assert suite(row) == Calls((Call("f", (1,), {}, "equal", 2),))
    assert len(suite(row, challenge=True).calls) == 2
    assert suite({**row, "test_setup_code": "x = 1\n"}) == Asserts("x = 1", ("assert f(1) == 2",))
    assert suite({**row, "test_imports": ["import math"]}) == Asserts("import math", ("assert f(1) == 2",))
    assert suite({"test_list": json.dumps(row["test_list"])}) == suite(row)


def test_mbpp_plus_scripts_are_calls():
    row = {"test_list": ["assert find_it([1], 3) == {1}"], "test": PLUS}
    assert suite(row) == Calls((Call("find_it", ([1], 3), {}, "equal", {1}),))
    first, second = suite(row, plus=True).calls
    assert (first.positional, first.expected, first.check) == (([1, 2], 3), {1, 2}, "close")
    assert second.holds(0.5 + 1e-9)
    assert not second.holds(0.51)
    assert not first.holds([1, 2])


def test_humaneval_scripts_are_one_test():
    script = "def check(candidate):\n    assert candidate(1) == 2\n"
    assert suite({"test": script, "entry_point": "f"}) == Asserts("", (script + "\n\ncheck(f)",))


def test_pairs():
    text = json.dumps({"inputs": ["1\n", ["2", "3"]], "outputs": ["2", 4]})
    pairs = Pairs((("1\n", "2"), ("2\n3", "4")))
    assert suite({"input_output": text}) == suite(answer=text) == pairs
    assert called_names(pairs) == []


def test_asserts_in_the_answer():
    expected = Calls((Call("f", (1,), {}, "equal", 2), Call("f", (2,), {}, "true")))
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


@pytest.mark.parametrize(
    ("value", "expected", "holds"),
    [
        (5, 5, True),
        (5.0, 5, True),
        (True, 1, True),
        ([1], (1,), False),
        ("5", 5, False),
        (None, 0, False),
        (float("nan"), float("nan"), False),
        (object(), 5, False),
    ],
)
def test_values_compare_as_in_python(value, expected, holds):
    assert Call("f", (), {}, "equal", expected).holds(value) is holds
