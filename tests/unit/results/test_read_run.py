from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round, manifest_key
from components.results import read_run
from tests.support.fake_run import START, finished_run, prepared_run


def test_a_finished_run(tmp_path: Path) -> None:
    results = read_run(finished_run(tmp_path, iterations=2).run)
    assert results.policy_version == 2
    assert [str(r.round_) for r in results.rounds] == ["iteration-0001", "iteration-0002", "evaluation-0002"]
    assert {v: str(r.round_) for v, r in results.evaluated.items()} == {
        0: "iteration-0001",
        1: "iteration-0002",
        2: "evaluation-0002",
    }
    assert [len(i.train.steps) for i in results.iterations if i.train] == [4, 4]
    seconds = [results.since_start(r.finished) for r in results.rounds]
    assert seconds == sorted(seconds)
    assert results.started == START


def test_an_iteration_lasts_from_the_end_of_what_came_before(tmp_path: Path) -> None:
    first, second = read_run(finished_run(tmp_path, iterations=2).run).iterations
    # rollout 2 + 20, pause 1, reward 0.5 + 4, pause 1, train 2 + 15; before the second a pause of 1 more.
    # The second shard samples for one second less.
    assert first.time is not None
    assert second.time is not None
    assert first.time.seconds == pytest.approx(45.5 - 1)
    assert second.time.seconds == pytest.approx(46.5 - 1)
    assert first.time.compute == pytest.approx(12 + 10)
    assert sum(first.time.parts.values()) == pytest.approx(first.time.seconds)


def test_the_compute_share_is_that_of_all_iterations_together(tmp_path: Path) -> None:
    results = read_run(finished_run(tmp_path, iterations=2).run)
    assert results.compute_share == pytest.approx(44 / (44.5 + 45.5))


def test_only_prepared(tmp_path: Path) -> None:
    results = read_run(prepared_run(tmp_path).run)
    assert (results.iterations, results.evaluations, results.policy_version) == ((), (), 0)
    assert results.compute_share is None
    assert results.seconds == pytest.approx(11)


def test_an_iteration_without_its_update(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    fake.iteration(1)
    fake.round(Round.iteration(2))
    results = read_run(fake.run)
    assert [i.train is not None for i in results.iterations] == [True, False]
    assert results.iterations[1].time is None
    assert results.policy_version == 1
    assert list(results.evaluated) == [0, 1]


def test_a_run_that_stopped_at_its_target(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    fake.iteration(1)
    fake.round(Round.iteration(2))
    fake.train(2, outcome="target_reached")
    results = read_run(fake.run)
    assert results.policy_version == 1
    assert results.iterations[1].train is not None
    assert results.iterations[1].train.outcome == "target_reached"


def test_pipelined_iterations_sample_the_policy_before(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, loop={"iterations": 3, "staleness": 1})
    for number in (1, 2, 3):
        fake.round(Round.iteration(number))
        if number > 1:
            fake.train(number - 1)
    results = read_run(fake.run)
    assert [(i.sampled.policy_version, i.train is not None) for i in results.iterations] == [
        (0, True),
        (0, True),
        (1, False),
    ]
    assert {v: str(r.round_) for v, r in results.evaluated.items()} == {0: "iteration-0001", 1: "iteration-0003"}
    times = [i.time for i in results.iterations[:2]]
    # Two rounds and an update; and from 2 s into its round: that, an update, another round, and its own update.
    assert [time.seconds for time in times if time] == pytest.approx([72, 88])
    assert all(time.compute_share < 1 for time in times if time)
    fake.train(3)
    fake.round(Round.evaluation(3))
    assert list(read_run(fake.run).evaluated) == [0, 1, 3]


def test_no_iterations_at_all(tmp_path: Path) -> None:
    results = read_run(finished_run(tmp_path, iterations=0).run)
    assert [str(r.round_) for r in results.rounds] == ["evaluation-0000"]
    assert list(results.evaluated) == [0]


def test_before_prepare_has_finished(tmp_path: Path) -> None:
    run = prepared_run(tmp_path).run
    run.store.delete(manifest_key(run.layout.prompts))
    with pytest.raises(InputError, match="has not finished"):
        read_run(run)
