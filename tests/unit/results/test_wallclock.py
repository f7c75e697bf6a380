from datetime import UTC, datetime, timedelta

import pytest

from components.contract.manifest import Timings
from components.results.wallclock import StageTime, compute_after, iteration_time

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def timings(begin: float, end: float, **kinds: float) -> Timings:
    return Timings(started=T0 + timedelta(seconds=begin), finished=T0 + timedelta(seconds=end), **kinds)


def test_shards_side_by_side_count_once() -> None:
    time = StageTime.of([timings(0, 10, compute=8), timings(1, 13, compute=9)])
    assert (time.seconds, time.compute) == (12, 9)


def test_shards_one_after_the_other_add_up() -> None:
    time = StageTime.of([timings(12, 20, compute=5), timings(0, 10, compute=8)])
    assert (time.seconds, time.compute) == (18, 13)


def test_everything_but_sampling_and_updating_counts_against_the_compute_share() -> None:
    time = iteration_time(
        since=T0,
        rollout=[timings(4, 24, start=3, load=5, compute=13, store=1)],
        reward=[timings(26, 30, start=1, compute=3)],
        train=timings(33, 50, start=2, load=4, compute=12),
    )
    assert time.seconds == 50
    assert time.compute_share == pytest.approx((13 + 12) / 50)
    assert time.parts == pytest.approx(
        {"sampling": 13, "updating": 12, "reward": 3, "load": 9, "store": 1, "start": 6, "other": 6}
    )


def test_what_a_stage_computed_before_a_moment_does_not_count() -> None:
    stages = [timings(0, 10, compute=8), timings(12, 20, compute=5)]
    assert [compute_after(T0 + timedelta(seconds=s), stages) for s in (0, 1, 5, 11, 17, 30)] == [13, 13, 10, 5, 3, 0]


def test_a_process_started_ahead_of_its_turn_does_not_make_parts_exceed_the_wall_clock() -> None:
    time = iteration_time(
        since=T0,
        rollout=[timings(1, 20, compute=19)],
        reward=[timings(20, 22, compute=2)],
        train=timings(23, 30, start=22, compute=7),
    )
    assert time.parts["start"] == 2
    assert sum(time.parts.values()) == pytest.approx(30)
