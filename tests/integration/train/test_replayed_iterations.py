"""Iterations whose mini-batches hold groups of earlier iterations and runs."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import components.train.iteration
from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.schemas import GUIDED, PROMPTS, with_metadata
from components.results.values import iteration_numbers
from components.runtime.clock import Clock
from components.store.earlier_runs import pin_earlier_runs
from components.store.parquet import encode
from components.train.stage import run_stage as train
from tests.support.tiny_policy import random_completions
from tests.support.trained import assert_same_state, metrics_of, state

Make = Callable[..., Any]
SETTINGS = ("loop.replay={share: 0.5, iterations: 2}", "train.updates=4", "train.learning_rate=0.003")


def iterations(made: Any, last: int) -> None:
    for number in range(1, last + 1):
        made.sample(number, groups=4)
        train(made.run.uri, number)


def test_groups_of_earlier_iterations_join_and_are_measured_by_age(training_run: Make) -> None:
    made = training_run(*SETTINGS)
    assert made.run.config.prompts_per_iteration == 4
    iterations(made, 3)
    first, second, third = (metrics_of(made.run, number) for number in (1, 2, 3))
    assert first.replay == ()
    assert [(groups.age, groups.groups) for groups in second.replay] == [(1, 4)]
    assert [groups.age for groups in third.replay] == [1, 2]
    assert sum(groups.groups for groups in third.replay) == 4
    # A mini-batch has one group of its own, and after the first iteration one more.
    assert all(m.groups == 4 and len(m.steps) == 4 for m in (first, second, third))
    assert sum(s.tokens for s in second.steps) > 1.5 * sum(s.tokens for s in first.steps)
    # The gap is measured without them; they are as far away as training has moved.
    assert third.logprob_gap_max < 1e-4
    near, far = third.replay
    assert 1e-3 < near.log_ratio_mean < far.log_ratio_mean
    assert far.effective_sample_share < near.effective_sample_share < 1
    numbers = iteration_numbers(made.run, 3)
    assert [numbers[f"{name}_groups"] for name in ("replay_chosen", "replay_left_out", "replayed")] == [4, 0, 4]
    assert numbers["replay_log_ratio_mean_age_2"] == far.log_ratio_mean
    inputs = made.run.directory(made.run.layout.train(3)).require().inputs
    assert {key for key in inputs if key.startswith("replay/")} == {
        f"replay/{number:04d}/{kind}/000" for number in (1, 2) for kind in ("trajectories", "rewards")
    }


def test_no_more_groups_are_scored_than_the_mini_batches_take(training_run: Make) -> None:
    """An iteration has fewer mini-batches than it may have where groups are dropped."""
    made = training_run(*SETTINGS, "train.zero_signal_groups=drop")
    iterations(made, 1)

    def alike(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        equal = {f"{number:05d}/p{number:06d}" for number in range(3)}
        return [{**row, "reward": 0.5} if row["group_id"] in equal else row for row in rows]

    made.sample(2, groups=4, rewards=alike)
    train(made.run.uri, 2)
    numbers = iteration_numbers(made.run, 2)
    assert len(metrics_of(made.run, 2).steps) == 1
    assert (numbers["replay_chosen_groups"], numbers["replayed_groups"]) == (1, 1)


def test_groups_of_mini_batches_that_were_not_reached_are_not_counted(training_run: Make) -> None:
    early = ("train.learning_rate=0.1", "train.updates={most: 4, until_share: 0.9}", "loop.replay.min_weight=0")
    made = training_run(*SETTINGS, *early)
    iterations(made, 2)
    numbers, taken = iteration_numbers(made.run, 2), len(metrics_of(made.run, 2).steps)
    assert 0 < taken < 4
    assert (numbers["replay_chosen_groups"], numbers["replayed_groups"]) == (4, taken)


def test_a_killed_iteration_goes_on_with_the_same_groups(training_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit. What was left out is decided before the first update, by a policy that is gone by then."""
    settings = (*SETTINGS, "loop.replay.min_weight=0.5", "train.checkpoint_every=1")
    whole, killed = (training_run(*settings, f"run.name={name}") for name in ("whole", "killed"))
    for made in (whole, killed):
        iterations(made, 2)
        made.sample(3, groups=4)
    train(whole.run.uri, 3)
    save = components.train.iteration.save_checkpoint

    def save_and_die(task: Any, trainer: Any, progress: Any) -> None:
        save(task, trainer, progress)
        if progress.done == 2:
            raise RuntimeError("killed")

    monkeypatch.setattr("components.train.iteration.save_checkpoint", save_and_die)
    with pytest.raises(RuntimeError, match="killed"):
        train(killed.run.uri, 3)
    monkeypatch.undo()
    train(killed.run.uri, 3)
    mine, theirs = metrics_of(killed.run, 3), metrics_of(whole.run, 3)
    assert mine.replay == theirs.replay
    assert 0 < sum(groups.left_out for groups in mine.replay) < 4
    assert_same_state(state(killed.run, 3), state(whole.run, 3))


def test_completions_that_no_iteration_was_trained_on_are_refused(training_run: Make) -> None:
    made = training_run(*SETTINGS)
    iterations(made, 1)
    directory = made.run.directory(made.run.layout.rollout(Round.iteration(1), 0))
    for replaced in (directory, made.run.directory(made.run.layout.reward(Round.iteration(1), 0))):
        replaced.discard()
    made.sample(1, groups=4, seed=5)
    made.sample(2, groups=4)
    message = "trajectories/000 of iteration 1 is not what that iteration was trained on"
    with pytest.raises(InputError, match=message):
        train(made.run.uri, 2)


@pytest.fixture
def finished(training_run: Make) -> Any:
    """A run of one iteration, with its prompts and a report."""
    made = training_run("run.name=before", "loop.iterations=1", "train.learning_rate=0.003")
    finish(made)
    return made


def finish(made: Any, **sampled: Any) -> None:
    commit_prompts(made)
    made.sample(1, **sampled)
    train(made.run.uri, 1)
    made.run.output("publish", made.run.layout.report, {}).commit(Clock().timings(), {"policy_version": 1})


def commit_prompts(made: Any, held_out: tuple[int, ...] = ()) -> None:
    """Commit the prompts that iteration 1 samples; some of them are held out."""
    drawn = random_completions(1, 5, made.run.config.rollout.group_size)
    rows = [
        {
            "prompt_id": f"p{number}",
            "split": "eval" if number in held_out else "train",
            "prompt": "",
            "prompt_token_ids": prompt,
            "answer": None,
            "metadata": "{}",
        }
        for number, (prompt, _) in enumerate(drawn)
    ]
    output = made.run.output("prepare", made.run.layout.prompts, {})
    output.write("prompts.parquet", encode(pa.Table.from_pylist(rows, with_metadata(PROMPTS, {}))), rows=len(rows))
    output.commit(Clock().timings())


def test_groups_of_an_earlier_run_join_from_the_first_iteration_on(finished: Any, training_run: Make) -> None:
    """All but those whose prompts are held out here."""
    made = training_run(*SETTINGS, "data.replay=[before]")
    commit_prompts(made, held_out=(1, 2))
    pin_earlier_runs(made.run, Clock().timings())
    made.sample(1, groups=4, seed=9)
    train(made.run.uri, 1)
    (measured,) = metrics_of(made.run).replay
    assert (measured.run, measured.age, measured.groups) == ("before", None, 2)
    assert iteration_numbers(made.run, 1)["replay_log_ratio_mean_run_before"] == measured.log_ratio_mean
    inputs = made.run.directory(made.run.layout.train(1)).require().inputs
    assert inputs["replay/before"] == finished.policy(1).facts["weights_digest"]
    made.sample(2, groups=4)
    train(made.run.uri, 2)
    assert {(m.age, m.run) for m in metrics_of(made.run, 2).replay} == {(1, None), (None, "before")}


def test_an_earlier_run_with_a_greater_gap_than_this_run_allows_is_refused(training_run: Make) -> None:
    before = training_run("run.name=before", "loop.iterations=1", "train.max_logprob_gap=10")
    finish(
        before,
        rows=lambda rows: [row | {"behaviour_logprobs": [x - 0.5 for x in row["behaviour_logprobs"]]} for row in rows],
    )
    made = replaying(training_run)
    message = (
        r"runs/before: engine and trainer differed by 0.5 nats per token in iteration 1, more than this run's train"
    )
    with pytest.raises(InputError, match=message):
        train(made.run.uri, 1)


@pytest.mark.usefixtures("finished")
def test_rewards_by_another_version_of_a_grader_are_refused(training_run: Make) -> None:
    made = replaying(training_run, grader_version="2")
    message = "iteration 1 of run before was graded by version 1 of its graders, iteration 1 of this run by 2; leave"
    with pytest.raises(InputError, match=message):
        train(made.run.uri, 1)


def replaying(training_run: Make, *words: str, **sampled: Any) -> Any:
    """A run that replays the run `before`, with its first iteration sampled."""
    made = training_run(*SETTINGS, "data.replay=[before]", *words)
    commit_prompts(made)
    pin_earlier_runs(made.run, Clock().timings())
    made.sample(1, groups=4, seed=9, **sampled)
    return made


@pytest.mark.usefixtures("finished")
def test_an_earlier_run_beside_a_guide(training_run: Make) -> None:
    """The guide scores the groups of both runs."""
    made = replaying(training_run, "train.guide=0.5")
    train(made.run.uri, 1)
    metrics = metrics_of(made.run)
    assert [measured.run for measured in metrics.replay] == ["before"]
    assert metrics.replayed_groups == 4
    assert all(step.guide_kl is not None for step in metrics.steps)


def guided(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let the first two groups be guided."""
    return [row | {"group_id": GUIDED + row["group_id"]} if row["group_id"] < "00002" else row for row in rows]


def test_guided_groups_of_an_earlier_run_are_left_aside_and_those_of_the_run_itself_are_not(training_run: Make) -> None:
    before = training_run("run.name=before", "loop.iterations=1", "train.learning_rate=0.003")
    finish(before, rows=guided)
    made = replaying(training_run, "train.mini_batch_prompts=3", "loop.replay.share=0.67", rows=guided)
    train(made.run.uri, 1)
    assert [(measured.run, measured.groups) for measured in metrics_of(made.run).replay] == [("before", 2)]
    made.sample(2, groups=4)
    train(made.run.uri, 2)
    found = [(measured.age, measured.run, measured.groups) for measured in metrics_of(made.run, 2).replay]
    assert found == [(1, None, 4), (None, "before", 2)]
