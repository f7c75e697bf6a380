"""The check of reference solutions by `rapid doctor`."""

import json
from types import SimpleNamespace

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import GraderSpec, SandboxSection
from components.prepare.prompt_tables import DataSet
from components.prepare.prompts import Prompt
from components.sandbox.modes import choose_mode
from pipelines.preflight.findings import Level
from pipelines.preflight.reference_check import check_references


def configured(*names):
    graders = [GraderSpec(name=name) for name in names]
    return SimpleNamespace(reward=SimpleNamespace(graders=graders, sandbox=SandboxSection(seconds=5), time_limit=10.0))


def data(*rows):
    prompts = [Prompt(i, f"p{i}", text, None, json.dumps(columns)) for i, (text, columns) in enumerate(rows, start=1)]
    return DataSet("data.train", "x.jsonl", len(prompts), prompts, [])


RIGHT = ("Double.", {"code": "def f(x): return 2 * x", "test_list": ["assert f(2) == 4"]})
WRONG = ("Double.", {"code": "def f(x): return x", "test_list": ["assert f(2) == 4"]})
UNRUNNABLE = ("Add.", {"solution": "def f(x): return x", "test_list": ["import numpy\nassert f(numpy.array([1]))"]})
HUMANEVAL = (
    'def f(x):\n    """ Return x. """\n',
    {"canonical_solution": "    return x\n", "entry_point": "f", "test": "def check(g):\n    assert g(3) == 3\n"},
)


def test_solutions_that_do_not_pass_their_own_tests_are_named():
    try:
        choose_mode(SandboxSection())
    except InputError as error:
        pytest.skip(f"no sandbox here: {error}")
    (found,) = check_references(configured("code"), [data(RIGHT, HUMANEVAL)])
    assert (found.level, found.result) == (Level.ok, "2 of 2 pass their tests")
    (found,) = check_references(configured("code"), [data(RIGHT, WRONG, UNRUNNABLE, ("No solution.", {}))])
    assert found.level is Level.warning
    assert found.result.startswith(
        "2 of 3 do not pass their own tests: row 2: F; test 1: f returned 2, expected 4; row 3"
    )
    assert "numpy is not in the sandbox" in found.result


def test_other_graders_have_no_reference_solutions():
    assert check_references(configured("exact"), [data(RIGHT)]) == []
    assert check_references(configured("code"), [data(("No solution.", {}))]) == []
