"""Guided starts with real vLLM: groups whose prompts end with a part of a good completion."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import torch

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.resolve import load_config
from components.contract.rollout_config import GuidedStartsSection
from components.contract.schemas import GUIDED
from components.prepare.stage import run_stage as prepare
from components.results import iteration_values, read_iteration, read_prompts, read_round, read_shard
from components.reward.stage import run_stage as reward
from components.rollout.groups import training_groups
from components.rollout.guided_starts import given_part, guide_groups
from components.rollout.stage import Rollout
from components.store import Run, open_run
from components.store.earlier_runs import EarlierRun
from components.train.stage import run_stage as train
from pipelines.demo.arithmetic import problems
from tests.support.arithmetic_run import FIRST, SECOND, assert_same_trajectories, trajectories, write_config
from tests.support.tiny_policy import plain_logprobs

pytestmark = pytest.mark.slow

GUIDE = {"share": 0.5, "part": 0.75, "iterations": 2}
Give = Callable[[Run], Rollout]


def guided_run(directory: Path, **guide: Any) -> Run:
    """A run that draws the same 16 training prompts in every iteration."""
    sections: dict[str, Any] = {
        "tracking": {"enabled": False},
        "rollout": {"guide": {**GUIDE, **guide}},
        "reward": {"graders": [{"name": "length", "options": {"max_tokens": 6, "buffer": 1}}]},
        "evaluate": {"pass_threshold": 0.0},  # five tokens at most
    }
    config = write_config(directory, **sections)
    rows = [{"prompt": prompt, "answer": answer, "steps": f"{answer}=0"} for prompt, answer in problems(0)[:24]]
    (directory / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return open_run(prepare(load_config(config)).run_uri)


def split(rows: dict[tuple[str, int], dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return guided rows and the others."""
    guided = [row for row in rows.values() if row["group_id"].startswith(GUIDED)]
    return guided, [row for row in rows.values() if row not in guided]


def prompts_of(run: Run) -> dict[str, list[int]]:
    table = read_prompts(run)
    return dict(zip(table["prompt_id"].to_pylist(), table["prompt_token_ids"].to_pylist(), strict=True))


def test_groups_start_with_a_part_of_a_solution(tmp_path: Path, with_engine: Give) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = guided_run(tmp_path, column="steps")
    manifest = with_engine(run).sample(FIRST, 0)
    assert manifest.facts["guided_groups"] == 8
    prompts, policy = prompts_of(run), run.fetch_policy(0, tmp_path / "policy-0")
    model, tokenizer = (
        kind.from_pretrained(policy, **words)
        for kind, words in ((AutoModelForCausalLM, {"dtype": torch.float32}), (AutoTokenizer, {}))
    )
    metadata = {row["prompt_id"]: json.loads(row["metadata"]) for row in read_prompts(run).to_pylist()}
    guided, others = split(trajectories(run, FIRST))
    assert (len(guided), len(others)) == (8 * 4, 8 * 4 + 8 * 4)
    assert {row["split"] for row in guided} == {"train"}
    for row in others:
        assert row["prompt_token_ids"] == prompts[row["prompt_id"]]
    for row in guided:
        ids, solution = row["prompt_token_ids"], metadata[row["prompt_id"]]["steps"]
        begin = len(prompts[row["prompt_id"]])
        start = tokenizer.encode(solution, add_special_tokens=False)
        assert ids == prompts[row["prompt_id"]] + start[: int(0.75 * len(start))]
        assert len(ids) - begin + len(row["completion_token_ids"]) <= 6
        assert row["text"].startswith(tokenizer.decode(ids[begin:]))
        expected = plain_logprobs(model, ids, row["completion_token_ids"], 1.3)
        np.testing.assert_allclose(row["behaviour_logprobs"], expected, atol=2e-4)


def test_later_iterations_and_runs_start_with_completions_that_passed(
    tmp_path: Path, with_engine: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = guided_run(tmp_path)
    first = with_engine(run).sample(FIRST, 0)
    assert first.facts["guided_groups"] == 0, "nothing has passed yet"
    assert [key for key in first.inputs if key.startswith("starts")] == ["starts"]
    reward(run.uri, FIRST, 0)
    train(run.uri, 1)
    second = with_engine(run).sample(SECOND, 0)
    scored = [row for part in read_shard(run, FIRST, 0) for row in part.to_pylist() if row["split"] == "train"]
    prompts, passed = prompts_of(run), [row for row in scored if row["reward"] >= 0.0]
    guided, others = split(trajectories(run, SECOND))
    assert second.facts["guided_groups"] == len({row["group_id"] for row in guided}) > 0
    for row in guided:
        start = row["prompt_token_ids"][len(prompts[row["prompt_id"]]) :]
        wholes = [r["completion_token_ids"] for r in passed if r["prompt_id"] == row["prompt_id"]]
        assert any(start == whole[: int(0.375 * len(whole))] for whole in wholes)
    rewards = run.directory(run.layout.reward(FIRST, 0)).require().digest
    assert second.inputs["starts/0001/rewards/000"] == rewards

    run.directory(run.layout.rollout(SECOND, 0)).discard()
    before = {(row["group_id"], row["sample_index"]): row for row in [*guided, *others]}
    with_engine(run).sample(SECOND, 0)
    assert_same_trajectories(before, trajectories(run, SECOND))
    reward(run.uri, SECOND, 0)
    train(run.uri, 2)
    result = read_round(run, SECOND)
    assert result is not None
    assert result.guided is not None
    assert result.train is not None
    assert result.guided.prompts + result.train.prompts == 16
    assert result.completions == 24 * 4
    trained = read_iteration(run, 2)
    assert trained is not None
    assert trained.train is not None
    assert iteration_values(trained)["guided_groups"] == second.facts["guided_groups"]
    assert trained.train.logprob_gap_max < 1e-3, "what was added is all that was weighted"
    third = with_engine(run).sample(Round.iteration(3), 0)
    assert third.facts["guided_groups"] == 0
    assert not [key for key in third.inputs if key.startswith("starts")]

    # A later run of the same prompts goes on where this one has got to.
    newest = str(run.policy(2).require().facts["weights_digest"])
    pinned = EarlierRun(run, 2, newest)
    monkeypatch.setattr("components.rollout.guided_starts.earlier_runs", lambda _: [pinned])
    (tmp_path / "later").mkdir()
    later = with_engine(guided_run(tmp_path / "later")).sample(FIRST, 0)
    assert later.facts["guided_groups"] > 0
    assert later.inputs["starts/small"] == newest


def test_several_shards_and_stop_strings(tmp_path: Path) -> None:
    """Shards guide as many groups together as one would; a solution ends at a stop string."""
    run = guided_run(tmp_path, column="answer", share=0.5, part=0.9)
    split_run = replace(
        run,
        config=run.config.model_copy(
            update={"rollout": run.config.rollout.model_copy(update={"shards": 5, "stop": ("1",)})}
        ),
    )
    draws = []
    for some in (run, split_run):
        found: dict[str, tuple[int, ...]] = {}
        for shard in range(some.config.rollout.shards):
            groups = training_groups(16, 16, FIRST, shard, some.config.rollout.shards, some.config.run.seed)
            prompts = read_prompts(some)
            train_prompts = prompts.filter(pc.equal(prompts["split"], "train"))
            guided = guide_groups(some, FIRST, groups, train_prompts, lambda text: [ord(letter) for letter in text])
            found |= {group.group_id: group.start for group in guided if group.start}
        draws.append(found)
    whole, parts = draws
    assert len(whole) == 8
    answers = train_prompts["answer"].to_pylist()
    groups = training_groups(16, 16, FIRST, 0, 1, run.config.run.seed)
    given = {f"{GUIDED}{group.place:05d}": answers[group.index].partition("1")[0] for group in groups}
    starts = {group_id: tuple(map(ord, given[group_id][: int(0.9 * len(given[group_id]))])) for group_id in whole}
    assert parts == {group_id: start for group_id, start in starts.items() if start}
    assert 0 < len(parts) < len(whole)


def test_starts_do_not_depend_on_the_order_of_stored_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = guided_run(tmp_path)
    prompts = read_prompts(run)
    train_prompts = prompts.filter(pc.equal(prompts["split"], "train"))
    groups = training_groups(16, 16, FIRST, 0, 1, run.config.run.seed)
    completions = [[number] * 5 for number in range(2, 9)]
    found = []
    for order in (completions, completions[::-1]):
        rows = {tuple(ids): order for ids in train_prompts["prompt_token_ids"].to_pylist()}
        monkeypatch.setattr("components.rollout.guided_starts._passed", lambda *_, rows=rows: rows)
        guided = guide_groups(run, FIRST, groups, train_prompts, lambda _: [])
        found.append({group.group_id: group.start for group in guided})
    assert len({start for start in found[0].values() if start}) > 1
    assert found[0] == found[1]


def test_a_column_that_no_prompt_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rollout.guide.column: no training .* 'stepz'; use one of answer, steps$"):
        guided_run(tmp_path, column="stepz")


def test_another_threshold_does_not_continue_parts_with_other_starts(tmp_path: Path, with_engine: Give) -> None:
    run = guided_run(tmp_path, column="steps")
    with_engine(run).sample(FIRST, 0)
    run.directory(run.layout.rollout(FIRST, 0)).retract()  # as a kill before the commit leaves it
    evaluate = run.config.evaluate.model_copy(update={"pass_threshold": -0.5})
    other = replace(run, config=run.config.model_copy(update={"evaluate": evaluate}))
    assert with_engine(other).sample(FIRST, 0).facts["groups_resumed"] == 0


def test_the_part_falls_to_nothing() -> None:
    guide = GuidedStartsSection(share=0.5, part=0.8, iterations=4)
    parts = [given_part(guide, Round.iteration(number)) for number in range(1, 7)]
    assert parts == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0])
    assert given_part(guide, Round.evaluation(1)) == given_part(None, FIRST) == 0.0
