"""MBPP's rows, graded by the `code` grader in grading processes.

    python -m tests.support.mbpp '{"mode": "landlock"}'

Print the task ids whose reference solutions fail, each with the detail.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.contract.reward_config import GraderSpec, SandboxSection
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask
from components.reward.score import Outcome

SHARED = Path(os.environ.get("RAPID_SHARED", Path(__file__).parents[2] / ".." / "shared"))
ROWS = SHARED / "data" / "mbpp_part.jsonl"
MISSING = f"{ROWS} does not exist; set RAPID_SHARED to the folder that holds data/mbpp_part.jsonl"


def mbpp_rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]


def grade(rows: Sequence[dict[str, Any]], programs: Sequence[str], **sandbox: Any) -> list[Outcome]:
    """Grade programs in Markdown, each against all tests of its row, challenge tests too."""
    settings = SandboxSection(**sandbox)
    specs = [GraderSpec(name="code", options={"challenge": True})]
    tasks = [
        GradingTask(row["text"], f"Like this:\n```python\n{program}\n```\nDone.", None, json.dumps(row))
        for row, program in zip(rows, programs, strict=True)
    ]
    with GraderPool(resolve_graders(specs, settings, 60.0), 2, 60.0) as pool:
        return [outcome for _, outcome in sorted(pool.grade(tasks))]


def failed_references(**sandbox: Any) -> dict[int, str | None]:
    rows = mbpp_rows()
    outcomes = grade(rows, [row["code"] for row in rows], **sandbox)
    return {row["task_id"]: o.detail for row, o in zip(rows, outcomes, strict=True) if o.reward != 1.0}


if __name__ == "__main__":
    print(json.dumps(failed_references(**json.loads(sys.argv[1]))))
