"""Values and frames between outside and inside."""

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.sandbox.inside.wire import MAX_DEPTH, Malformed, decode, encode, parse

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


def test_subclasses_arrive_as_what_they_hold():
    class Always(int):
        __hash__ = int.__hash__

        def __eq__(self, other):
            return True

    class Listed(list):
        def __eq__(self, other):
            return True

    assert type(through(Always(7))) is int
    assert through(Always(7)) != 8
    assert through([Listed([1])]) == [[1]]


def test_other_objects_stay_behind():
    with pytest.raises(Malformed):
        encode(object())
    kept = []
    data = encode([print, range(3)], lambda value: kept.append(value) or len(kept) - 1)
    assert data == ["l", ["o", 0], ["o", 1]]
    assert decode(data, kept.__getitem__) == [print, range(3)]
    assert decode(data) != [print, range(3)]


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
        [], {}, {"l": 1}, ["x"], ["i"], ["i", 5], ["i", "0x"], ["i", "1", "2"], ["b", "€"], ["b", 5], ["c", 1.0],
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
