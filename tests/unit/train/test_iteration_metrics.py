"""Metrics that the train stage shows in the pipeline."""

from pathlib import Path

from kfp import dsl

from components.contract.layout import Round
from components.train.iteration_metrics import log_iteration, log_last_iteration
from tests.support.fake_run import FakeRun, prepared_run


def logged(fake: FakeRun, iteration: int) -> tuple[int, dict[str, float]]:
    metrics = dsl.Metrics(name="metrics", uri="")
    return log_iteration(fake.run.uri, iteration, metrics), metrics.metadata


def test_every_iteration_shows_its_rewards_updates_and_time(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, tracking={"enabled": False})
    fake.iteration(1)
    remaining, shown = logged(fake, 1)
    assert remaining == 1
    wanted = {"train_reward", "eval_reward", "pass_at_1", "pass_at_4", "effective_sample_share", "logprob_gap_mean"}
    assert wanted | {"seconds", "seconds_rollout", "seconds_train", "policy_version"} <= shown.keys()
    assert {type(value) for value in shown.values()} <= {int, float}


def test_a_reached_target_ends_the_loop(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, tracking={"enabled": False})
    fake.round(Round.iteration(1))
    fake.train(1, "target_reached")
    remaining, shown = logged(fake, 1)
    assert remaining == 0
    assert shown["eval_reward"] >= 0


def test_a_worker_shows_its_last_iteration_at_the_end(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, tracking={"enabled": False})
    metrics = dsl.Metrics(name="metrics", uri="")
    assert log_last_iteration(fake.run.uri, metrics).endswith("/policy")
    assert not metrics.metadata
    for number in (1, 2):
        fake.iteration(number)
    assert "iterations/0002/train/policy" in log_last_iteration(fake.run.uri, metrics)
    assert metrics.metadata["policy_version"] == 2
    assert metrics.metadata["train_reward"] == logged(fake, 2)[1]["train_reward"]
