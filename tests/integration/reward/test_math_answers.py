"""The grader `math` on half of MATH-500: real answers, equivalent rewritings and wrong variants."""

import json
import os
from pathlib import Path

import pytest
from answer_variants import variants

from components.contract.reward_config import GraderSpec
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask

SHARED = Path(os.environ.get("RAPID_SHARED", Path(__file__).parents[3] / ".." / "shared"))


@pytest.fixture(scope="module")
def problems() -> list[dict]:
    path = SHARED / "data" / "math500_half.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set RAPID_SHARED to the folder that holds data/math500_half.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rewards(pairs: list[tuple[str, str]]) -> list[float]:
    """Rewards of (completion, answer) pairs."""
    graders = resolve_graders([GraderSpec(name="math", options={"extract": "boxed"})])
    with GraderPool(graders, workers=2, time_limit=20.0) as pool:
        outcomes = dict(pool.grade([GradingTask("p", completion, answer, "{}") for completion, answer in pairs]))
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}
    return [outcomes[i].reward for i in range(len(pairs))]


def test_every_worked_solution_ends_in_the_answer(problems):
    assert rewards([(row["solution"], row["answer"]) for row in problems]) == [1.0] * 250


@pytest.mark.parametrize(("kind", "expected"), [(0, 1.0), (1, 0.0)])
def test_five_variants_of_every_answer(problems, kind, expected):
    made = [(text, row["answer"]) for row in problems for text in variants(row["answer"])[kind]]
    assert len(made) == 1250
    found = rewards([(f"Therefore it is $\\boxed{{{text}}}$.", answer) for text, answer in made])
    assert [pair for pair, reward in zip(made, found, strict=True) if reward != expected] == []
