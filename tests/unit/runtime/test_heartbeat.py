"""Heartbeats: who may write them, and how long their readers take workers for silent."""

from pathlib import Path

import pytest

from components.runtime.heartbeat import Heartbeat, Silence, read_beat
from components.store import Attempt, Store, open_store

WORKER = "runs/demo/workers/train"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moment that the readers' clock shows."""
    moment = [0.0]
    monkeypatch.setattr("components.runtime.heartbeat.time.monotonic", lambda: moment[0])
    return moment


def beat(store: Store) -> None:
    with Heartbeat([Attempt.claim(store, WORKER)]):
        pass


def test_an_attempt_that_was_superseded_leaves_the_place_to_the_next(store: Store) -> None:
    first = Attempt.claim(store, WORKER)
    beat(store)
    with Heartbeat([first]) as late:
        late.say("working", "iteration 0001 train")
    last = read_beat(store, WORKER)
    assert last is not None
    assert last.attempt == 2


def test_silence_is_counted_from_the_last_change(store: Store, clock: list[float]) -> None:
    silence = Silence(store, [WORKER])
    clock[0] = 60
    assert silence.look() == (60, WORKER, None)
    beat(store)
    clock[0] = 100
    assert silence.look()[0] == 0
    clock[0] = 190
    assert silence.look()[0] == 90


def test_the_time_in_which_the_reader_did_not_reach_the_store_counts_for_nobody(
    store: Store, clock: list[float]
) -> None:
    beat(store)
    silence = Silence(store, [WORKER])
    silence.look()
    clock[0] = 90
    assert silence.look()[0] == 90
    clock[0] = 90 + 1900
    assert silence.look()[0] == 90
    clock[0] += 60
    assert silence.look()[0] == 150
