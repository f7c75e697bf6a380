"""A mark in the store cancels a run: for what has opened it, and not for its next start."""

from pathlib import Path

import pytest

from components.contract.layout import Round
from components.runtime.clock import Clock
from components.store import Run, RunCancelled, open_run
from components.store.cancellation import cancel, withdraw_cancellations
from tests.support.fake_run import prepared_run


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return prepared_run(tmp_path).run.uri


def commit(run: Run, number: int) -> None:
    round_ = Round.iteration(number)
    run.output("rollout", run.layout.rollout(round_, 0), {}, round_, 0).commit(Clock().timings())


def test_nothing_is_committed_or_begun_after_the_mark(uri: str) -> None:
    run = open_run(uri)
    commit(run, 1)
    cancel(run.store, run.layout)
    for opened in (run, open_run(uri)):
        with pytest.raises(RunCancelled, match="the run is cancelled"):
            commit(opened, 2)
        with pytest.raises(RunCancelled):
            opened.claim("train")
    assert run.directory(run.layout.rollout(Round.iteration(1), 0)).manifest()
    assert not run.directory(run.layout.rollout(Round.iteration(2), 0)).manifest()


def test_the_next_start_goes_on_while_what_is_left_of_a_cancelled_one_still_ends(uri: str) -> None:
    old = open_run(uri)
    for number in range(3):
        cancel(old.store, old.layout)
        cancel(old.store, old.layout)  # twice is as once
        withdraw_cancellations(old.store, old.layout)
        new = open_run(uri)
        commit(new, 1 + number)
        with pytest.raises(RunCancelled):
            commit(old, 9)
        old = new


def test_a_start_that_nobody_has_cancelled_withdraws_nothing(uri: str) -> None:
    run = open_run(uri)
    withdraw_cancellations(run.store, run.layout)
    assert not run.store.list(run.layout.cancellations)
    cancel(run.store, run.layout)
    with pytest.raises(RunCancelled):
        commit(run, 1)
