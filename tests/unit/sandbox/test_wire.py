"""Values and frames between outside and inside."""

import datetime
import json
import math
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.sandbox.inside.values import MAX_DEPTH, Malformed, decode, encode
from components.sandbox.inside.wire import parse

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
HASHABLE = SCALARS | st.tuples(SCALARS, SCALARS) | st.frozensets(SCALARS, max_size=3)
VALUES = st.recursive(
    HASHABLE | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner) | st.sets(HASHABLE) | st.dictionaries(HASHABLE, inner) | st.tuples(inner),
    max_leaves=20,
)


def through(value):
    return decode(parse(json.dumps(encode(value)).encode()))


def types(value):
    inner = [*value.items()] if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [type(value), *map(types, inner)]


@given(VALUES)
def test_values_arrive_as_they_left(value):
    assert through(value) == value
    assert types(through(value)) == types(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, -(2**53), 2**53, -0.0, "\ud800", bytearray(b"\xff")])
def test_odd_values_arrive(value):
    assert through(value) == value


def test_very_large_integers_arrive():
    assert through(10**5000) == 10**5000


def test_not_a_number_arrives():
    assert math.isnan(through(math.nan))


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1.10"), Decimal("NaN"), Fraction(2, 6), range(1, 9, 2), slice(1, None), deque([1, [2]], 3),
        Counter("aab"), OrderedDict(a=1), defaultdict(list, {1: [2]}), array("d", [1.5]), UUID(int=7), ..., int, len,
        bytearray(b"a"), datetime.date(2024, 2, 29), datetime.timedelta(1, 2), str.upper, math.gcd,
        datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), [Decimal(1), {Fraction(1): (range(2),)}],
    ],
    ids=repr,
)  # fmt: skip
def test_values_of_the_standard_library_arrive(value):
    found = through(value)
    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_views_arrive_as_views():
    held = {1: [2], 3: [4]}
    assert through(held.keys()) == held.keys()
    assert through({1: 2}.items()) == {1: 2}.items()
    assert list(through(held.values())) == [[2], [4]]


def test_other_objects_stay_behind_with_what_they_hold():
    class Always(int):
        __hash__ = int.__hash__

        def __eq__(self, other):
            return True

    class Listed(list):
        def __iter__(self):
            return iter([9])

    kept = []
    data = encode([Always(7), Listed([1]), print], lambda value: (kept.append(value) or len(kept) - 1, "about"))
    assert data == ["l", ["o", 0, 7, "about"], ["o", 1, ["l", 1], "about"], ["n", "builtins", "print"]]
    assert decode(data, lambda _number, held, _about: held) == [7, [1], print]
    with pytest.raises(Malformed):
        decode(data)
    for value in (object(), Listed([1]), open, eval, __import__("os").system):
        with pytest.raises(Malformed):
            encode(value)


def test_depth_is_bounded():
    value = []
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert through(value) == value
    with pytest.raises(Malformed):
        encode([[[value]]])
    with pytest.raises(Malformed):
        decode(["l", ["l", encode(value)]])


@pytest.mark.parametrize(
    "data",
    [
        ["x"], ["x", "Popen", "ls"], ["x", "Fraction", 1, 0], ["x", "range", "a"], ["x", "deque", 5], ["keys", 1],
        ["n", "os", "system"], ["n", "builtins", "eval"], ["n", "nowhere", "a"], ["n", 1, 2], ["iterator"],
        ["x", "array", "i", ["l", "a"]], ["o", 1, None], ["keys", ["l"]], ["x", "Decimal", "one"],
        [], {}, {"l": 1}, ["i"], ["i", 5], ["i", "0x"], ["i", "1", "2"], ["b", "€"], ["b", 5], ["c", 1.0],
        ["c", 1, 2], ["o", "x"], ["o", 1.5], ["d", 1], ["s", ["l"]], ["f", ["d"]], ["d", ["l"], 1], [["l"]], [None],
        [1, 2], ["l", {}], ["t", ["t", ["t", []]]],
    ],
)  # fmt: skip
def test_malformed_values_are_refused(data):
    with pytest.raises(Malformed):
        decode(data)


def test_values_whose_hashes_collide_are_refused():
    colliding = [["i", hex(number * (2**61 - 1))] for number in range(1, 20_000)]
    for kind in ("s", "f"):
        with pytest.raises(Malformed, match="collide"):
            decode([kind, *colliding])
    with pytest.raises(Malformed, match="collide"):
        decode(["d", *(item for key in colliding for item in (key, None))])
    with pytest.raises(Malformed, match="collide"):
        decode(["s", *colliding, *range(30_000)])
    assert len(decode(["s", *colliding[:99], *range(-500, 20_000)])) == 20_599
    assert decode(["s"]) == set()


@pytest.mark.parametrize("body", [b"", b"\xde\xad", b"[1", b"[" * 100_000, b'{"a": ', b"9" * 5000, b"\xff\xfe"])
def test_malformed_messages_are_refused(body):
    with pytest.raises(Malformed):
        parse(body)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=30))
def test_decoding_hostile_json_raises_nothing_else(data):
    with suppress(Malformed):
        decode(data)
