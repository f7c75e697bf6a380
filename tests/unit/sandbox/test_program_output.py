"""Comparison of a program's output with the expected one."""

import pytest

from components.sandbox.output import same_lines, same_tokens


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("5\n", "5"), ("1 2\n3", "1\n2 3\n\n"), ("0.3333333333", "0.333333"), ("5.0", "5"), ("5", "5.00"),
        ("-0.0", "0.0"),
        ("1000000.4", "1000000.9"), ("1e-9", "0.0"), ("YES", "YES"), ("", "\n"), ("2.50", "2.5"),
        (".5", "0.5"), ("inf", "inf"),
    ],
)  # fmt: skip
def test_the_same_words(output, wanted):
    assert same_tokens(output, wanted)


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("6", "5"), ("1 2 3", "1 2"), ("", "0"), ("0.334", "0.333"), ("1000000001", "1000000000"),
        ("5.1", "5"), ("yes", "YES"),
        ("nan", "0.0"), ("007", "7"), ("1_0", "10"), ("1e999", "1.0"), ("1e99999999", "5"),
        ("12", "1 2"), ("0x5", "5"),
        ("1000000000.5", "1000000000"), ("9" * 200_000 + ".0", "9" * 200_000), ("infinity", "inf"), ("\u0665", "5"),
    ],
)  # fmt: skip
def test_other_words(output, wanted):
    assert not same_tokens(output, wanted)


def test_exact_lines():
    assert same_lines("a  \nb\n\n", "a\nb")
    for output in ("a b", "b\na", " a\nb"):
        assert not same_lines(output, "a\nb")
    assert not same_lines("0.50", "0.5")
