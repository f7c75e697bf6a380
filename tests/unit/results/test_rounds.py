from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round, manifest_key
from components.results import evaluation_of, iteration_numbers, pass_at_k, read_completions, read_round
from tests.support.fake_run import finished_run, prepared_run

FIRST = Round.iteration(1)


def test_a_round_is_summed_up_over_all_shards(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=1).run
    result = read_round(run, FIRST)
    rows = read_completions(run, FIRST).to_pylist()

    assert result is not None
    assert result.train is not None
    assert result.eval is not None
    assert (result.train.prompts, result.train.completions) == (6, 24)
    assert (result.eval.prompts, result.eval.completions) == (5, 20)
    assert (result.policy_version, result.completions, len(rows)) == (0, 44, 44)
    train = [row for row in rows if row["split"] == "train"]
    assert result.train_reward == pytest.approx(sum(row["reward"] for row in train) / 24)
    assert result.train.length == pytest.approx(sum(len(row["completion_token_ids"]) for row in train) / 24)
    assert result.train.truncated_share == sum(row["finish_reason"] == "length" for row in train) / 24
    assert result.tokens == sum(len(row["completion_token_ids"]) for row in rows)
    assert result.status == {"ok": 44, "timeout": 0, "error": 0, "invalid": 0}


def test_pass_at_k_is_the_mean_over_held_out_prompts(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=1).run
    passes: dict[str, int] = {}
    for row in read_completions(run, FIRST).to_pylist():
        if row["split"] == "eval":
            passes[row["group_id"]] = passes.get(row["group_id"], 0) + (row["reward"] >= 1)
    result = read_round(run, FIRST)
    assert result is not None
    for k in (1, 4):
        assert result.pass_at_k[k] == pytest.approx(pass_at_k([4] * 5, list(passes.values()), k).mean())
    assert result.pass_at_k[1] == pytest.approx(result.eval_reward)


def test_the_threshold_holds_in_the_precision_rewards_are_stored_in(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, evaluate={"pass_threshold": 0.7})
    original = fake._reward
    fake._reward = lambda row, rate, status: {**original(row, rate, status), "reward": 0.7}  # type: ignore[method-assign]
    fake.round(FIRST)
    result = read_round(fake.run, FIRST)
    assert result is not None
    assert result.pass_at_k == {1: 1.0, 4: 1.0}


def test_a_round_lacking_a_shard_is_not_there_yet(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=1).run
    run.store.delete(manifest_key(run.layout.reward(FIRST, 1)))
    assert read_round(run, FIRST) is None
    with pytest.raises(InputError, match="iteration-0001 has no rewards yet"):
        read_completions(run, FIRST)


def test_completions_carry_prompt_and_answer(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=1).run
    row = next(r for r in read_completions(run, FIRST).to_pylist() if r["prompt_id"] == "eval003")
    assert (row["prompt"], row["answer"]) == ("What is 3 + 4 & <b>why</b>?", "7")


def test_evaluations_have_no_training_rows(tmp_path: Path) -> None:
    result = read_round(finished_run(tmp_path, iterations=1).run, Round.evaluation(1))
    assert result is not None
    assert result.train_reward is None
    assert result.eval is not None


def test_a_policy_is_evaluated_by_the_next_iteration_or_by_its_own_evaluation(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=2).run
    found = [evaluation_of(run, version) for version in range(4)]
    assert [r and str(r.round_) for r in found] == ["iteration-0001", "iteration-0002", "evaluation-0002", None]


def test_without_held_out_prompts_nothing_is_evaluated(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=1, eval_prompts=0).run
    result = read_round(run, FIRST)
    assert result is not None
    assert (result.eval, result.pass_at_k, evaluation_of(run, 0)) == (None, {}, None)


def test_a_corrupted_part_is_refused(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=1).run
    run.store.write(f"{run.layout.reward(FIRST, 0)}/part-00000.parquet", b"scratch")
    with pytest.raises(InputError, match="is corrupted"):
        read_round(run, FIRST)


def test_failed_gradings_are_counted(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    fake.round(FIRST, status="timeout")
    result = read_round(fake.run, FIRST)
    assert result is not None
    assert result.train is not None
    assert result.status["timeout"] == result.completions
    assert result.train.failed_share == 1.0


def test_held_out_prompts_with_a_completion_that_was_not_graded_are_not_scored(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    original, groups = fake._reward, set[object]()

    def reward(row: dict[str, object], _rate: float, status: str) -> dict[str, object]:
        first = row["group_id"] not in groups
        groups.add(row["group_id"])
        return original(row, 1.0, "error" if first and len(groups) % 2 else status)

    fake._reward = reward  # type: ignore[method-assign]
    fake.round(FIRST)
    result = read_round(fake.run, FIRST)
    assert result is not None
    assert result.eval is not None
    assert 0 < result.eval.status["error"] < result.eval.prompts
    assert result.eval.reward == 1.0
    assert result.pass_at_k[1] == 1.0


@pytest.mark.parametrize(("guide", "count"), [({"guide": 0.5}, 0.0), ({}, None)])
def test_a_run_with_a_guide_says_how_many_groups_were_guided(
    tmp_path: Path, guide: dict[str, float], count: float | None
) -> None:
    run = finished_run(tmp_path, iterations=1, rollout=guide).run
    assert iteration_numbers(run, 1).get("guided_groups") == count
