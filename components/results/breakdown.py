"""Held-out completions by the subject of their prompts."""

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError
from components.contract.rollout_config import EvaluateSection
from components.results.majority import majority_at_k, vote
from components.results.pass_at_k import passes, round_pass_at_k

SUBJECT_COLUMNS = ("subject", "data_source", "reasoning_gym", "type", "level")
ALL = "all"


@dataclass(frozen=True)
class Breakdown:
    """The completions of one subject, or of all."""

    subject: str
    prompts: int
    completions: int
    reward: float
    """Mean over completions."""
    pass_at_k: dict[int, float]
    majority_at_k: dict[int, float]
    """Only where prompts have an answer and completions have one to vote with; empty otherwise."""
    failed: int
    """Completions that could not be graded."""


def subject_column(rows: pa.Table) -> str | None:
    """Return the column of metadata that holds the subject: the first known one with more than one value."""
    metadata = [json.loads(text) for text in rows["metadata"].unique().to_pylist()]
    return next((name for name in SUBJECT_COLUMNS if len({str(m.get(name)) for m in metadata}) > 1), None)


def breakdown(rows: pa.Table, evaluate: EvaluateSection, column: str | None) -> list[Breakdown]:
    """Return one entry for all rows, then one for every value of a column of the prompts' metadata, by value.

    Args:
        rows: as `read_completions` gives them.

    Raises:
        InputError: no prompt has that column.
    """
    if not rows.num_rows:
        return []
    whole = [_entry(ALL, rows, evaluate)]
    if column is None:
        return whole
    metadata = {text: json.loads(text) for text in rows["metadata"].unique().to_pylist()}
    if not any(column in m for m in metadata.values()):
        known = sorted({name for m in metadata.values() for name in m})
        raise InputError(f"the prompts have no column {column!r}; they have {', '.join(known) or 'none'}")
    subjects = pa.array([str(metadata[text].get(column, "-")) for text in rows["metadata"].to_pylist()])
    values = sorted(pc.unique(subjects).to_pylist())
    return whole + [_entry(value, rows.filter(pc.equal(subjects, value)), evaluate) for value in values]


def _entry(subject: str, rows: pa.Table, evaluate: EvaluateSection) -> Breakdown:
    rewards = rows["reward"].to_numpy()
    _, group = np.unique(rows["group_id"].to_numpy(), return_inverse=True)
    pass_at_k = round_pass_at_k(rows, evaluate)
    passed = passes(rows["reward"], evaluate.pass_threshold)
    return Breakdown(
        subject=subject,
        prompts=int(group.max()) + 1,
        completions=rows.num_rows,
        reward=float(rewards.astype(np.float64).mean()),
        pass_at_k=pass_at_k,
        majority_at_k=_majorities(rows, group, passed, [k for k in pass_at_k if k > 1]),
        failed=rows.num_rows - pc.sum(pc.equal(rows["status"], "ok")).as_py(),
    )


def _majorities(rows: pa.Table, group: np.ndarray, passed: np.ndarray, ks: list[int]) -> dict[int, float]:
    columns = (rows["text"].to_pylist(), rows["answer"].to_pylist())
    votes = [None if answer is None else vote(text) for text, answer in zip(*columns, strict=True)]
    if not any(votes):
        return {}
    members: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(group):
        members[int(number)].append(row)
    return {
        k: float(
            np.mean([majority_at_k([votes[i] for i in m], [bool(passed[i]) for i in m], k) for m in members.values()])
        )
        for k in ks
    }
