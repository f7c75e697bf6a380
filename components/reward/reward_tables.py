"""Conversion of trajectories and prompts to grading tasks, and of outcomes to a table of rewards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError
from components.contract.schemas import REWARDS
from components.reward.grader_lookup import Grader
from components.reward.grading_pool import GradingTask
from components.reward.score import Outcome

ABORTED = Outcome("invalid", 0.0, {}, 0.0, "the engine aborted this completion")


@dataclass(frozen=True)
class PartTasks:
    """The tasks of one part of trajectories."""

    tasks: list[GradingTask]
    rows: list[list[int]]
    """For every task the rows that share it: completions of one prompt with the same text and token count."""
    aborted: list[int]
    """Rows that the engine did not finish, which are not graded."""


def part_tasks(trajectories: pa.Table, prompts: pa.Table, where: str) -> PartTasks:
    """Build the tasks of one part; `completion_tokens` is added to the prompts' metadata.

    Raises:
        InputError: the prompt of a trajectory is not in the run.
    """
    known = _by_id(prompts, trajectories["prompt_id"])
    ids = trajectories["prompt_id"].to_pylist()
    texts = trajectories["text"].to_pylist()
    tokens = pc.list_value_length(trajectories["completion_token_ids"]).to_pylist()
    finishes = trajectories["finish_reason"].to_pylist()
    rows: dict[tuple[str, str, int], list[int]] = {}
    aborted = []
    for row, key in enumerate(zip(ids, texts, tokens, strict=True)):
        if key[0] not in known:
            raise InputError(f"{where}, row {row}: prompt {key[0]!r} is not among the prompts of the run")
        if finishes[row] == "abort":
            aborted.append(row)
        else:
            rows.setdefault(key, []).append(row)
    tasks = []
    for prompt_id, text, count in rows:
        prompt, answer, metadata = known[prompt_id]
        tasks.append(GradingTask(prompt, text, answer, json.dumps({**metadata, "completion_tokens": count})))
    return PartTasks(tasks, list(rows.values()), aborted)


def rewards_table(
    trajectories: pa.Table, outcomes: list[Outcome], graders: Sequence[Grader], versions: Sequence[str]
) -> pa.Table:
    """Build the rewards of one part from outcomes in the order of its trajectories."""
    rows = len(outcomes)
    assert rows == trajectories.num_rows
    columns = {
        "group_id": trajectories["group_id"],
        "sample_index": trajectories["sample_index"],
        "reward": [o.reward for o in outcomes],
        "components": [list(o.components.items()) for o in outcomes],
        "status": [o.status for o in outcomes],
        "grader": ["+".join(g.name for g in graders)] * rows,
        "grader_version": ["+".join(versions)] * rows,
        "seconds": [o.seconds for o in outcomes],
        "detail": [o.detail for o in outcomes],
    }
    return pa.table(columns, schema=REWARDS)


def _by_id(prompts: pa.Table, ids: pa.ChunkedArray) -> dict[str, tuple[str, str | None, dict[str, Any]]]:
    wanted = prompts.filter(pc.is_in(prompts["prompt_id"], value_set=ids.unique()))
    return {
        row["prompt_id"]: (row["prompt"], row["answer"], json.loads(row["metadata"]))
        for row in wanted.select(["prompt_id", "prompt", "answer", "metadata"]).to_pylist()
    }
