from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from components.contract.layout import Round
from components.results import evaluation_of, read_iteration
from components.tracking.points import Point, evaluation_points, iteration_points, milliseconds
from tests.support.fake_run import START, finished_run, prepared_run


def by_key(points: list[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.key, []).append(point)
    return found


def test_an_iteration_on_its_three_axes(tmp_path: Path) -> None:
    iteration = read_iteration(finished_run(tmp_path).run, 2)
    assert iteration is not None
    assert iteration.train is not None
    points = by_key(iteration_points(iteration, START))

    (reward,) = points["iteration/train_reward"]
    assert (reward.value, reward.step) == (iteration.sampled.train_reward, 2)
    (share,) = points["iteration/compute_share"]
    assert share.value == pytest.approx(22 / 45.5)
    assert [p.step for p in points["step/kl"]] == [5, 6, 7, 8]
    assert [p.timestamp for p in points["step/loss"]] == [milliseconds(s.finished) for s in iteration.train.steps]
    (clock,) = points["clock/train_reward"]
    assert clock.step == int((iteration.sampled.finished - START).total_seconds())
    assert points["iteration/effective_sample_share_min"][0].value == min(
        s.effective_sample_share for s in iteration.train.steps
    )


def test_what_stages_used_of_their_machines(tmp_path: Path) -> None:
    iteration = read_iteration(finished_run(tmp_path).run, 2)
    assert iteration is not None
    assert iteration.trained is not None
    of_train = iteration.trained.model_copy(update={"usage": {"gpu_0_utilization_percentage": 90.0}})
    shards = [t.model_copy(update={"usage": {"memory_usage_megabytes": 100.0}}) for t in iteration.sampled.rollout]
    sampled = replace(iteration.sampled, rollout=(shards[0], shards[0]))
    points = by_key(iteration_points(replace(iteration, trained=of_train, sampled=sampled), START))
    assert {key for key in points if key.startswith("system/")} == {
        "system/rollout-000/memory_usage_megabytes",
        "system/rollout-001/memory_usage_megabytes",
        "system/train/gpu_0_utilization_percentage",
    }
    assert points["system/train/gpu_0_utilization_percentage"] == [
        Point("system/train/gpu_0_utilization_percentage", 90.0, milliseconds(of_train.finished), 2)
    ]


def test_evaluations_stand_at_the_version_of_the_policy(tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    for version in (0, 1, 2):
        result = evaluation_of(run, version)
        assert result is not None
        points = by_key(evaluation_points(result, START))
        assert points["iteration/pass_at_4"] == [
            Point("iteration/pass_at_4", result.pass_at_k[4], milliseconds(result.finished), version)
        ]
        assert points["clock/eval_reward"][0].step == (result.finished - START) // timedelta(seconds=1)


def test_an_iteration_that_met_the_target_has_no_steps(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    fake.round(Round.iteration(1))
    fake.train(1, outcome="target_reached")
    iteration = read_iteration(fake.run, 1)
    assert iteration is not None
    keys = by_key(iteration_points(iteration, START)).keys()
    assert not any(key.startswith("step/") for key in keys)
    assert "iteration/effective_sample_share" not in keys
    assert "iteration/train_reward" in keys
