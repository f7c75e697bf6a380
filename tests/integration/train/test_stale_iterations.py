"""Pipelined iterations: training on what the policy before sampled."""

from collections.abc import Callable
from typing import Any

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.train.stage import run_stage as train
from tests.support.trained import metrics_of

Make = Callable[..., Any]
MOVED = ("loop.staleness=1", "train.learning_rate=0.01")


@pytest.fixture
def behind(training_run: Make) -> Any:
    """A run whose first iteration is trained."""
    made = training_run(*MOVED)
    made.sample(1)
    train(made.run.uri, 1)
    return made


def test_the_second_iteration_is_sampled_from_the_base_policy_too(behind: Any) -> None:
    assert [behind.run.sampled_policy(Round.iteration(number)) for number in (1, 2, 3)] == [0, 0, 1]
    assert behind.run.iterations_sampling(0) == [Round.iteration(1), Round.iteration(2)]
    assert behind.run.iterations_sampling(1) == [Round.iteration(3)]


def test_weights_compare_with_the_policy_that_sampled_and_the_gap_is_its_own(behind: Any) -> None:
    behind.sample(2)
    manifest = train(behind.run.uri, 2)
    metrics = metrics_of(behind.run, 2)
    assert manifest.facts["policy_version"] == 2
    assert metrics.logprob_gap_max < 1e-4, "the behaviour policy finds its own log-probabilities again"
    assert metrics.steps[0].log_ratio_mean > 1e-2, "the policy has moved on since"
    assert metrics_of(behind.run, 1).steps[0].log_ratio_mean < 1e-4


def test_completions_of_the_newest_policy_are_refused_where_the_older_one_was_to_sample(behind: Any) -> None:
    newest = behind.policy(1).facts["weights_digest"]
    behind.sample(2, facts=lambda facts: facts | {"weights_digest": newest})
    with pytest.raises(InputError, match=f"sampled with weights_digest {newest}, but its behaviour policy has"):
        train(behind.run.uri, 2)


def test_log_probabilities_that_the_policy_that_sampled_does_not_give_are_refused(behind: Any) -> None:
    def shifted(rows: Any) -> Any:
        return [row | {"behaviour_logprobs": [value - 3.0 for value in row["behaviour_logprobs"]]} for row in rows]

    behind.sample(2, rows=shifted)
    with pytest.raises(InputError, match="engine and trainer disagree by 3 nats per token"):
        train(behind.run.uri, 2)
    assert behind.run.policy_version() == 1


def test_the_target_is_reached_by_an_older_policy_and_the_newest_has_an_evaluation_of_its_own(
    training_run: Make,
) -> None:
    """Samples of later iterations are left alone."""
    made = training_run(*MOVED, "loop.target_reward=0.9", "data.eval_prompts=1")
    made.sample(1)
    train(made.run.uri, 1)
    made.sample(2, rewards=lambda rows: [row | {"reward": 1.0} for row in rows])
    made.sample(3)
    assert train(made.run.uri, 2).facts["outcome"] == "target_reached"
    assert made.run.policy_version() == 1
    assert made.run.final_round() == Round.evaluation(1)
