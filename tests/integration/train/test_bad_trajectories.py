"""Trajectories and rewards that cannot be trained on."""

from collections.abc import Callable
from typing import Any

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.train.stage import run_stage as train
from tests.support.trained import metrics_of

Make = Callable[..., Any]


def drop_first_train_row(rows: Any) -> Any:
    return rows[1:]


def lone(rows: Any) -> Any:
    return [row for row in rows if not row["group_id"].startswith("00001") or row["sample_index"] == 0]


def positive_logprob(rows: Any) -> Any:
    rows[3]["behaviour_logprobs"][0] = 0.5
    return rows


def missing_logprob(rows: Any) -> Any:
    rows[6]["behaviour_logprobs"][0] = float("nan")
    return rows


def empty_completion(rows: Any) -> Any:
    rows[2] |= {"completion_token_ids": [], "behaviour_logprobs": []}
    return rows


def foreign_token(rows: Any) -> Any:
    rows[5]["completion_token_ids"][0] = 14
    return rows


def negative_prompt_token(rows: Any) -> Any:
    for row in rows[4:8]:
        row["prompt_token_ids"] = [2, -1]
    return rows


def other_prompt(rows: Any) -> Any:
    rows[6]["prompt_token_ids"] = [*rows[6]["prompt_token_ids"], 2]
    return rows


def empty_prompt(rows: Any) -> Any:
    for row in rows[4:8]:
        row["prompt_token_ids"] = []
    return rows


def wrong_logprobs(rows: Any) -> Any:
    for row in rows:
        row["behaviour_logprobs"] = [value - 0.5 for value in row["behaviour_logprobs"]]
    return rows


FILE = r"rollout/shard-000/part-00000\.parquet"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"rewards": drop_first_train_row}, FILE + r", row 0: completion \('00000/p000000', 0\) has no reward"),
        ({"rows": drop_first_train_row}, FILE + r", row 0: group 00000/p000000 has 3 completions, .*group_size is 4"),
        ({"rows": lone}, FILE + r", row 4: group 00001/p000001 has 1 completions.*a group of one has no baseline"),
        ({"rows": positive_logprob}, FILE + r", row 3: behaviour_logprobs holds 0.5, not a log-probability"),
        ({"rows": missing_logprob}, FILE + r", row 6: behaviour_logprobs holds nan, not a log-probability"),
        ({"rows": empty_completion}, FILE + r", row 2: completion_token_ids is empty"),
        ({"rows": foreign_token}, FILE + r", row 5: completion_token_ids holds 14, outside .* vocabulary of 14"),
        ({"rows": negative_prompt_token}, FILE + r", row 4: prompt_token_ids holds -1, outside"),
        ({"rows": other_prompt}, FILE + r", row 6: group 00001/p000001 has more than one prompt"),
        ({"rows": empty_prompt}, FILE + r", row 4: prompt_token_ids is empty"),
        ({"rows": wrong_logprobs}, r"disagree by 0.5 nats per token .*more than 0\.001 .*tokenizer.*temperature"),
        ({"facts": lambda f: f | {"weights_digest": "0" * 64}}, FILE + r" was sampled with weights_digest 000"),
        ({"facts": lambda f: f | {"tokenizer_digest": "0" * 64}}, FILE + r" was sampled with tokenizer_digest 000"),
        ({"facts": lambda f: f | {"temperature": 0.7}}, FILE + r" was sampled with temperature 0.7, .* has 1.0"),
        ({"reward_inputs": lambda _: {"trajectories": "0" * 64}}, r"was graded from other trajectories than"),
        ({"groups": 3}, r"iteration 1 has 3 groups, but train.updates.most 2 x train.mini_batch_prompts 2 need 4"),
        ({"groups": 0}, r"iteration 1 of .* has no training trajectories"),
    ],
)
def test_bad_trajectories_are_refused(training_run: Make, spoil: dict[str, Any], message: str) -> None:
    made = training_run()
    made.sample(**spoil)
    with pytest.raises(InputError, match=message):
        train(made.run.uri, 1)
    assert made.run.policy_version() == 0


@pytest.mark.parametrize(
    "spoil",
    [{"rewards": drop_first_train_row}, {"rows": lone}, {"rows": foreign_token}, {"rows": missing_logprob}],
    ids=["reward", "group", "token", "logprob"],
)
def test_groups_with_bad_rows_are_counted_and_dropped_where_allowed(training_run: Make, spoil: dict[str, Any]) -> None:
    made = training_run("train.max_bad_group_share=0.3")
    made.sample(**spoil)
    train(made.run.uri, 1)
    metrics = metrics_of(made.run)
    assert (metrics.groups, metrics.bad_groups, len(metrics.steps)) == (3, 1, 1)


@pytest.mark.parametrize(("status", "left_out"), [("error", 1), ("invalid", 1), ("timeout", 0)])
def test_a_group_with_a_completion_that_was_not_graded_is_left_out(
    training_run: Make, status: str, left_out: int
) -> None:
    made = training_run()

    def failed(rows: Any) -> Any:
        rows[5] |= {"status": status, "reward": 0.0}
        return rows

    made.sample(rewards=failed)
    train(made.run.uri, 1)
    metrics = metrics_of(made.run)
    assert (metrics.ungraded_groups, metrics.groups, metrics.bad_groups) == (left_out, 4 - left_out, 0)


def test_a_group_with_a_completion_that_was_aborted_before_its_first_token_is_left_out(training_run: Make) -> None:
    made = training_run()

    def aborted(rows: Any) -> Any:
        rows[5] |= {"completion_token_ids": [], "behaviour_logprobs": [], "finish_reason": "abort"}
        return rows

    def failed(rows: Any) -> Any:
        rows[5] |= {"status": "invalid", "reward": 0.0}
        return rows

    made.sample(rows=aborted, rewards=failed)
    train(made.run.uri, 1)
    metrics = metrics_of(made.run)
    assert (metrics.ungraded_groups, metrics.groups, metrics.bad_groups) == (1, 3, 0)


def test_an_iteration_of_which_nothing_was_graded_is_refused(training_run: Make) -> None:
    made = training_run()
    made.sample(rewards=lambda rows: [row | {"status": "error"} for row in rows])
    with pytest.raises(InputError, match="no group whose completions could all be graded"):
        train(made.run.uri, 1)


def test_too_many_bad_groups_are_refused(training_run: Make) -> None:
    made = training_run("train.max_bad_group_share=0.2")
    made.sample(rows=foreign_token)
    with pytest.raises(InputError, match=r"row 5: .*; 1 of 4 groups are bad, train.max_bad_group_share is 0.2"):
        train(made.run.uri, 1)


def test_missing_inputs_are_refused(training_run: Make) -> None:
    made = training_run()
    with pytest.raises(InputError, match=r"rollout/shard-000 has no manifest"):
        train(made.run.uri, 1)
    with pytest.raises(InputError, match=r"iterations/0001/train/policy has no manifest"):
        train(made.run.uri, 2)
    with pytest.raises(InputError, match="iterations count from 1"):
        train(made.run.uri, 0)


def test_a_corrupted_part_is_refused(training_run: Make) -> None:
    made = training_run()
    made.sample()
    part = made.run.store.local_path(made.run.layout.rollout(Round.iteration(1), 0)) / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"part-00000.parquet is corrupted"):
        train(made.run.uri, 1)
