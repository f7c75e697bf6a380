"""Rewards of the same completions by other graders."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.layout import Round
from components.results.pass_at_k import passes
from components.results.tables import read_completions
from components.store import Run


@dataclass(frozen=True)
class Changed:
    """A completion whose reward changed."""

    group_id: str
    sample_index: int
    text: str
    answer: str | None
    before: float
    after: float
    detail: str | None
    """Reason for which it could not be graded now."""


@dataclass(frozen=True)
class Comparison:
    """One split of one round under the run's graders and under others."""

    round_: Round
    split: str
    completions: int
    changed: int
    reward: tuple[float, float]
    """Mean over completions, before and after."""
    passed: tuple[float, float]
    """Share of completions that pass (`evaluate.pass_threshold`)."""
    failed: tuple[int, int]
    """Completions that could not be graded."""
    grader_version: tuple[str, str]
    examples: list[Changed]
    """The largest changes first."""


def compare(run: Run, round_: Round, rescored: str, examples: int) -> list[Comparison]:
    """Compare the committed rewards of a round with those of a re-scoring, per split.

    Raises:
        InputError: the round's rewards are not complete, or a file is missing or corrupted.
    """
    before, after = read_completions(run, round_), read_completions(run, round_, rescored)
    of_split = ((split, pc.equal(before["split"], split)) for split in ("train", "eval"))
    return [
        _of_split(run, round_, split, before.filter(mask), after.filter(mask), examples)
        for split, mask in of_split
        if pc.any(mask).as_py()
    ]


def _of_split(run: Run, round_: Round, split: str, before: pa.Table, after: pa.Table, examples: int) -> Comparison:
    tables = (before, after)
    old, new = (table["reward"].to_numpy().astype(np.float64) for table in tables)
    change = np.abs(new - old)
    threshold = run.config.evaluate.pass_threshold
    largest = np.argsort(-change, kind="stable")[: min(examples, int((change > 0).sum()))]
    return Comparison(
        round_=round_,
        split=split,
        completions=before.num_rows,
        changed=int((change > 0).sum()),
        reward=(float(old.mean()), float(new.mean())),
        passed=tuple(float(passes(table["reward"], threshold).mean()) for table in tables),  # type: ignore[arg-type]
        failed=tuple(table.num_rows - pc.sum(pc.equal(table["status"], "ok")).as_py() for table in tables),
        grader_version=tuple(", ".join(sorted(table["grader_version"].unique().to_pylist())) for table in tables),  # type: ignore[arg-type]
        examples=[_example(after.slice(row, 1).to_pylist()[0], float(old[row])) for row in largest.tolist()],
    )


def _example(row: dict[str, Any], before: float) -> Changed:
    return Changed(
        row["group_id"], row["sample_index"], row["text"], row["answer"], before, row["reward"], row["detail"]
    )
