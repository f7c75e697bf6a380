"""Graders against the labels of real model completions, through the stage itself."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from components.contract.layout import Round
from components.contract.schemas import TRAJECTORIES, with_metadata
from components.reward.stage import run_stage as grade_shard
from components.runtime.clock import Clock
from components.store.parts import PartWriter, read_parts

AT = Round.iteration(1)
SHARED = Path(os.environ.get("RAPID_SHARED", Path(__file__).parents[3] / ".." / "shared"))


def disagreements(make_run, commit_prompts, name: str, grader: str) -> list[dict]:
    path = SHARED / "data" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set RAPID_SHARED to the folder that holds data/{name}.jsonl")
    labelled = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    run = make_run(f"reward={grader}")
    commit_prompts(run, [("question", row["answer"]) for row in labelled])
    output = run.output("rollout", run.layout.rollout(AT, 0), {}, AT, 0)
    columns = {
        "prompt_id": [f"p{i}" for i in range(len(labelled))],
        "group_id": [f"{i:05d}" for i in range(len(labelled))],
        "sample_index": [0] * len(labelled),
        "split": ["train"] * len(labelled),
        "prompt_token_ids": [[1]] * len(labelled),
        "completion_token_ids": [[1]] * len(labelled),
        "behaviour_logprobs": [[-1.0]] * len(labelled),
        "finish_reason": ["stop"] * len(labelled),
        "text": [row["completion"] for row in labelled],
    }
    writer = PartWriter(output, "trajectories", with_metadata(TRAJECTORIES, {}))
    writer.append(pa.table(columns, schema=TRAJECTORIES))
    output.commit(Clock().timings())
    assert grade_shard(run.uri, AT, 0).facts["ok"] == len(labelled)
    (table,) = read_parts(run.directory(run.layout.reward(AT, 0)), "rewards")
    rewards = table["reward"].to_pylist()
    return [row for row, reward in zip(labelled, rewards, strict=True) if reward != float(row["is_correct"])]


@pytest.mark.parametrize("grader", ["numeric", "math", "[{name: math, options: {extract: 'A:'}}]"])
def test_every_gsm8k_label_is_agreed_with(make_run, commit_prompts, grader):
    assert disagreements(make_run, commit_prompts, "gsm8k_labelled_completions", grader) == []


def test_math_agrees_with_the_math_labels_but_one(make_run, commit_prompts):
    """The one label is wrong: its source's grader took 10{,}000 and 10000 for different numbers."""
    found = disagreements(make_run, commit_prompts, "math_labelled_completions", "math")
    assert [(row["answer"], row["pred"], row["is_correct"]) for row in found] == [("10{,}000", "10000", False)]
