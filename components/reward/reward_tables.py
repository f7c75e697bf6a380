"""From trajectories and prompts to grading tasks, and from outcomes to a rewards table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError
from components.contract.schemas import REWARDS
from components.reward.grader_lookup import Grader
from components.reward.grading_pool import Outcome, Task

ABORTED = Outcome("invalid", 0.0, {}, 0.0, "the engine aborted this completion")


@dataclass(frozen=True)
class PartTasks:
    """What there is to grade in one part of trajectories."""

    tasks: list[Task]
    rows: list[list[int]]
    """Rows of the part that share a task: completions of one prompt with the same text and token count."""
    aborted: list[int]
    """Rows the engine did not finish, which are not graded."""


def part_tasks(trajectories: pa.Table, prompts: pa.Table, where: str) -> PartTasks:
    """Tasks of one part.

    Graders get the prompt's metadata with `completion_tokens` added.

    Raises:
        InputError: a trajectory of a prompt that is not in the run.
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
        tasks.append(Task(prompt, text, answer, json.dumps({**metadata, "completion_tokens": count})))
    return PartTasks(tasks, list(rows.values()), aborted)


def outcome_rows(part: PartTasks, index: int, outcome: Outcome) -> list[tuple[int, Outcome]]:
    """The rows an outcome stands for; its seconds count once, in the first."""
    first, *others = part.rows[index]
    return [(first, outcome), *((row, replace(outcome, seconds=0.0)) for row in others)]


def rewards_table(
    trajectories: pa.Table, outcomes: list[Outcome], graders: Sequence[Grader], versions: Sequence[str]
) -> pa.Table:
    """Outcomes in the order of the trajectories, as rewards."""
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
