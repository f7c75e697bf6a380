"""Guards that end the updates early, leave groups or completions out, and skip steps."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
import torch

from components.contract.errors import InputError
from components.contract.train_config import SHARES_IN_MEAN
from components.train.stage import run_stage as train
from tests.support.trained import metrics_of, weights

Make = Callable[..., Any]


def test_updates_go_on_while_the_mean_effective_sample_share_allows(training_run: Make) -> None:
    made = training_run(
        "train.learning_rate=0.1", "train.max_grad_norm=1000", "train.updates={most: 12, until_share: 0.3}"
    )
    made.sample(groups=24)
    manifest = train(made.run.uri, 1)
    metrics = metrics_of(made.run)
    taken = len(metrics.steps)
    shares = [step.effective_sample_share for step in metrics.steps]
    means = [fmean(shares[max(0, end - SHARES_IN_MEAN) : end]) for end in range(1, taken + 1)]
    assert min(means) >= 0.3 > min(shares)  # a single mini-batch does not end them
    assert SHARES_IN_MEAN < taken < 12
    assert manifest.facts["step"] == taken
    assert metrics.ended_early is not None
    assert metrics.ended_early.startswith(f"mini-batch {taken + 1} of 12: effective sample share 0.2")
    assert metrics.ended_at == taken + 1
    assert metrics.unused_groups == 24 - 2 * taken


def test_a_kl_ceiling_ends_the_updates(training_run: Make) -> None:
    made = training_run("train.learning_rate=0.01", "train.updates=4", "train.max_kl=1e-6")
    made.sample(groups=8)
    train(made.run.uri, 1)
    metrics = metrics_of(made.run)
    assert metrics.ended_early is not None
    assert metrics.ended_early.startswith("mini-batch 2 of 4: KL(mu || pi) of ")
    assert (len(metrics.steps), metrics.ended_at) == (1, 2)
    # The next iteration goes on from there.
    made.sample(2, groups=8)
    assert train(made.run.uri, 2).facts["step"] == 2


def test_dynamic_sampling_fills_its_mini_batches_from_the_surplus(training_run: Make) -> None:
    made = training_run("train.zero_signal_groups=drop", "rollout.oversampling=2")
    assert made.run.config.prompts_per_iteration == 8

    def some_flat(rows: Any) -> Any:
        flat = ("00000", "00003", "00004")
        return [row | {"reward": 1.0 if row["group_id"][:5] in flat else row["sample_index"] / 4} for row in rows]

    made.sample(groups=8, rewards=some_flat)
    train(made.run.uri, 1)
    metrics = metrics_of(made.run)
    assert (metrics.groups, metrics.zero_signal_groups, metrics.dropped_groups) == (8, 3, 3)
    assert len(metrics.steps) == 2


def test_a_batch_of_zero_signal_groups_leaves_the_policy_alone(training_run: Make) -> None:
    made = training_run("train.zero_signal_groups=drop")

    def flat(rows: Any) -> Any:
        return [row | {"reward": 1.0} for row in rows]

    made.sample(rewards=flat)
    manifest = train(made.run.uri, 1)
    metrics = metrics_of(made.run)
    assert (manifest.facts["step"], metrics.dropped_groups, metrics.steps) == (0, 4, ())
    assert metrics.ended_early is not None
    assert "nothing to learn from" in metrics.ended_early
    assert metrics.ended_at is None
    for name, tensor in weights(made.run, 1).items():
        assert torch.equal(tensor, weights(made.run, 0)[name])
    made.sample(2, rewards=lambda rows: [row | {"reward": row["sample_index"] / 4} for row in rows])
    assert train(made.run.uri, 2).facts["step"] == 2


@pytest.mark.parametrize(("handling", "reward", "masked"), [("keep", 0.75, 0), ("mask", 0.75, 1), ("penalise", 0.5, 0)])
def test_truncated_completions_as_chosen(training_run: Make, handling: str, reward: float, masked: int) -> None:
    made = training_run(f"train.overlong={handling}", "train.overlong.penalty=1", "train.updates=1")

    def cut_off(rows: Any) -> Any:
        return [row | {"finish_reason": "length" if row["sample_index"] == 0 else "stop"} for row in rows]

    def by_index(rows: Any) -> Any:
        return [row | {"reward": 0.0 if row["sample_index"] == 1 else 1.0} for row in rows]

    made.sample(rows=cut_off, rewards=by_index)
    train(made.run.uri, 1)
    (step,) = metrics_of(made.run).steps
    assert step.reward == pytest.approx(reward)
    assert (step.mask_fraction > 0) == bool(masked)


def test_cloning_keeps_groups_of_nothing_but_verified_completions(training_run: Make) -> None:
    made = training_run("train.objective=sft", "train.learning_rate=0.01", "train.updates.until_share=0.99")
    made.sample(rewards=lambda rows: [row | {"reward": 1.0} for row in rows])
    train(made.run.uri, 1)
    assert (len(metrics_of(made.run).steps), metrics_of(made.run).ended_early) == (2, None)


def test_losses_that_are_not_finite_stop_the_stage(training_run: Make) -> None:
    made = training_run("train.updates=5", "train.mini_batch_prompts=1", "train.learning_rate=1e30")
    made.sample(groups=5)
    with pytest.raises(InputError, match=r"not finite for 3 mini-batches in a row; lower train.learning_rate"):
        train(made.run.uri, 1)
    assert made.run.policy_version() == 0


def test_one_loss_that_is_not_finite_skips_its_step(training_run: Make) -> None:
    made = training_run("train.updates=4", "train.mini_batch_prompts=1")

    def overflow(rows: Any) -> Any:
        for row in rows[:4]:
            row["reward"] = 3e38
        return rows

    made.sample(rewards=overflow)
    manifest = train(made.run.uri, 1)
    assert (manifest.facts["skipped"], manifest.facts["step"]) == (1, 3)
    assert [step.step for step in metrics_of(made.run).steps] == [1, 2, 3]
    assert all(tensor.isfinite().all() for tensor in weights(made.run, 1).values())
