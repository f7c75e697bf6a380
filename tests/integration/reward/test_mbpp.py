"""The grader `code` on MBPP: reference solutions, and solutions with one change."""

import json
import time
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import SandboxSection
from components.sandbox.modes import sandbox_options
from components.sandbox.sandbox import Limits, Sandbox
from tests.support.mbpp import MISSING, ROWS, failed_references, grade, mbpp_rows
from tests.support.mutations import mutated

SURVIVORS = {
    row["task_id"]: row
    for row in json.loads((Path(__file__).parents[2] / "fixtures" / "mbpp_survivors.json").read_text())
}
UNHURRIED = {"seconds": 40.0, "cpu_seconds": 40}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROWS.is_file(), reason=MISSING),
]


@pytest.fixture(autouse=True)
def sandboxed(request):
    if "in_open_python" not in request.fixturenames:
        try:
            sandbox_options(SandboxSection(), 10.0)
        except InputError as error:
            pytest.skip(f"no sandbox here: {error}")


def test_every_reference_solution_passes():
    assert failed_references(**UNHURRIED) == {}


def test_every_reference_solution_passes_under_landlock(in_open_python):
    assert in_open_python("tests.support.mbpp", "ordinary", mode="landlock", **UNHURRIED) == {}


def test_one_changed_operator_or_constant_is_noticed():
    """The survivors are listed: they are equivalent, or differ at a call that the row's tests do not make."""
    changed = [(row, change) for row in mbpp_rows() if (change := mutated(row["code"], row["task_id"]))]
    outcomes = grade([row for row, _ in changed], [change[0] for _, change in changed], seconds=0.8, cpu_seconds=1)
    survivors = {
        row["task_id"]: change[1]
        for (row, change), outcome in zip(changed, outcomes, strict=True)
        if outcome.reward == 1.0
    }
    assert len(changed) > 500
    assert len(survivors) <= 0.1 * len(changed)
    assert survivors.items() <= {number: row["change"] for number, row in SURVIVORS.items()}.items()


def test_survivors_that_are_not_equivalent_differ_at_the_listed_call():
    rows = {row["task_id"]: row["code"] for row in mbpp_rows()}
    options = sandbox_options(SandboxSection(), 10.0)
    with Sandbox(options.pop("mode"), Limits(**options)) as sandbox:
        for number, survivor in SURVIVORS.items():
            if "differs_at" not in survivor:
                assert survivor["equivalent"]
                continue
            both = rows[number], mutated(rows[number], number)[0]
            answers = [answer(sandbox, f"{code}\ndef answer():\n    return {survivor['differs_at']}") for code in both]
            assert answers[0][0] == "value", survivor
            assert answers[0] != answers[1], survivor


def answer(sandbox: Sandbox, program: str) -> list:
    deadline = time.monotonic() + 10
    with sandbox.start("calls") as running:
        running.send("", deadline)
        assert running.receive(deadline) == ["given"]
        running.send([[program, False]], deadline)
        assert running.receive(deadline)[0] == "ready"
        running.send(["call", "answer", ["l"], ["d"]], deadline)
        return running.receive(deadline)
