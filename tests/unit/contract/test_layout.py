"""Keys of a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contract.errors import InputError
from components.contract.layout import (
    Round,
    RunLayout,
    attempt_name,
    attempt_number,
    manifest_key,
    part_index,
    part_name,
    split_attempt,
)


def test_the_layout_is_the_documented_one() -> None:
    layout = RunLayout("demo")
    third, last = Round.iteration(3), Round.evaluation(12)
    assert layout.config == "runs/demo/config.json"
    assert layout.prompts == "runs/demo/prompts"
    assert layout.rollout(third, 0) == "runs/demo/iterations/0003/rollout/shard-000"
    assert layout.reward(third, 12) == "runs/demo/iterations/0003/reward/shard-012"
    assert layout.train(3) == "runs/demo/iterations/0003/train"
    assert layout.rollout(last, 0) == "runs/demo/evaluations/0012/rollout/shard-000"
    assert layout.report == "runs/demo/report"
    assert layout.tracking == "runs/demo/tracking.json"
    assert manifest_key(layout.train(3)) == "runs/demo/iterations/0003/train/manifest.json"


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "a b", "a\n", "x" * 64])
def test_what_is_no_name_of_a_run(name: str) -> None:
    with pytest.raises(InputError, match=r"^run: name must match "):
        RunLayout(name)


def test_which_stage_an_object_commits() -> None:
    layout = RunLayout("demo")
    third, last = Round.iteration(3), Round.evaluation(12)
    directories = {
        layout.prompts: "prepare",
        layout.policy(0): "prepare",
        layout.rollout(third, 0): "rollout",
        layout.rollout(last, 255): "rollout",
        layout.reward(third, 1): "reward",
        layout.reward(last, 0): "reward",
        layout.train(3): "train",
        layout.report: None,
        layout.policy(3): "train",
        RunLayout("other").prompts: None,
    }
    assert {key: layout.committed_stage(manifest_key(key)) for key in directories} == directories
    assert layout.committed_stage(f"{layout.rollout(third, 0)}/{part_name(0)}") is None
    assert layout.committed_stage(layout.config) is None


def test_the_base_policy_and_trained_ones() -> None:
    layout = RunLayout("demo")
    assert layout.policy(0) == "runs/demo/policy"
    assert layout.policy(2) == f"{layout.train(2)}/policy" == "runs/demo/iterations/0002/train/policy"


def test_what_an_attempt_writes_has_a_folder_of_its_own() -> None:
    assert attempt_name(3) == "attempt-0003"
    assert split_attempt("attempt-0003/part-00000.parquet") == ("attempt-0003", "part-00000.parquet")
    assert split_attempt("attempt-12345/optimizer/x") == ("attempt-12345", "optimizer/x")
    assert split_attempt("policy/attempt-0003") == ("", "policy/attempt-0003")
    assert attempt_number("heartbeat.json") is None


def test_which_policy_a_round_samples() -> None:
    assert [Round.iteration(number).policy_version(staleness=0) for number in (1, 2, 4)] == [0, 1, 3]
    assert [Round.iteration(number).policy_version(staleness=1) for number in (1, 2, 4)] == [0, 0, 2]
    assert Round.evaluation(4).policy_version(staleness=1) == 4
    assert Round.iteration(1).trains
    assert not Round.evaluation(1).trains


@given(st.sampled_from(["iteration", "evaluation"]), st.integers(1, 99_999))
def test_rounds_go_there_and_back(kind: str, number: int) -> None:
    round_ = Round(kind, number)
    assert Round.parse(str(round_)) == round_


def test_the_base_policy_may_be_evaluated() -> None:
    assert Round.parse("evaluation-0000") == Round.evaluation(0)


@pytest.mark.parametrize("text", ["", "3", "iteration", "iteration-", "iteration-x", "iteration-0000", "round-0001"])
def test_what_is_no_round(text: str) -> None:
    with pytest.raises(InputError, match="is not a valid round; write iteration-0001, evaluation-0004 or final"):
        Round.parse(text)


def test_directories_of_different_work_never_meet() -> None:
    layout = RunLayout("demo")
    rounds = [Round(kind, number) for kind in ("iteration", "evaluation") for number in range(1, 12)]
    keys = [
        *(
            place(round_, shard)
            for place in (layout.rollout, layout.reward)
            for round_ in rounds
            for shard in range(12)
        ),
        *(layout.train(round_.number) for round_ in rounds if round_.trains),
        layout.prompts,
        layout.report,
        layout.policy(0),
    ]
    assert len(set(keys)) == len(keys)
    assert not [(a, b) for a in keys for b in keys if b.startswith(f"{a}/")], "one commit directory lies in another"


@given(st.integers(0, 1_000_000))
def test_part_names_go_there_and_back(index: int) -> None:
    assert part_index(part_name(index)) == index


def test_part_names_sort_by_number() -> None:
    assert sorted(part_name(index) for index in (10, 9, 100)) == [part_name(9), part_name(10), part_name(100)]


@pytest.mark.parametrize("name", ["manifest.json", "part-1.parquet", "part-00001.parquet.tmp", "xpart-00001.parquet"])
def test_other_files_are_no_parts(name: str) -> None:
    assert part_index(name) is None
