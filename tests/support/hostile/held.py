"""The checks that every hostile program has to pass, wherever it ran."""

from typing import Any

from tests.support.hostile import CHEATING, DECIDES, ESCAPES, EXHAUSTION, UNREADABLE


def assert_held(found: dict[str, Any]) -> None:
    """Check what `tests.support.hostile.run` prints: no trace outside, no reward, and each attempt made and denied."""
    outcomes = found["outcomes"]
    assert found["traces"] == []
    assert outcomes.keys() == {*ESCAPES, *EXHAUSTION, *CHEATING}
    assert {name for name, outcome in outcomes.items() if outcome[1] != 0.0} == set()
    assert {name: outcome for name, outcome in outcomes.items() if outcome[0] != "ok"}.keys() == DECIDES | UNREADABLE
    # A seccomp filter may kill a process that uses another calling convention.
    answers = {name: outcomes[name][2] for name in ESCAPES}
    assert {n: a for n, a in answers.items() if "returned 'held'" not in a and "SIGSYS" not in a} == {}
