"""Losses and differences are counted, and commands executed to their end although they are killed."""

import random
import sys
from pathlib import Path

import pytest

from benchmarks.faults.__main__ import is_good, summary
from benchmarks.faults.kills import Execution, Outcome
from benchmarks.faults.runs import compare
from benchmarks.faults.s3_proxy import FAULTS, applies

ONCE = "import pathlib, sys, time; p = pathlib.Path(sys.argv[1]); p.exists() or (p.touch(), time.sleep(600))"
"""A program that is to be killed once: its second start ends at once."""


def execute(folder: Path, program: str, kills: int) -> Outcome:
    command = [sys.executable, "-c", program, str(folder / "begun")]
    return Execution(folder / "log", folder / "tmp").run([[command], [command]], [kills, 0], 0.1, random.Random(0))


def test_what_is_missing_is_lost_and_what_is_other_or_more_differs() -> None:
    theirs = {("reward", 1): 0.5, ("reward", 2): 1.0, ("policies", 1): "a", ("completion_token_ids", 1): [1]}
    ours = {("reward", 1): 0.5, ("policies", 1): "b", ("completion_token_ids", 1): [1], ("reward", 3): 0.0}
    assert compare(ours, theirs, {}) == {"completions": 1, "rewards": 2, "policies": 1, "lost": 1, "differing": 2}
    assert not any(compare(theirs, theirs, {})[name] for name in ("lost", "differing"))
    given = {("reward", 1): 0.5, ("policies", 1): "a"}
    assert compare(ours, theirs, given) == {"completions": 1, "rewards": 1, "policies": 0, "lost": 1, "differing": 2}


def test_a_killed_command_is_started_again_until_it_ends(tmp_path: Path) -> None:
    outcome = execute(tmp_path, ONCE, kills=1)
    assert outcome.faults.total() == 1
    assert (outcome.starts, outcome.problem, outcome.left) == (3, "", [])


def test_a_command_that_fails_by_itself_has_not_survived(tmp_path: Path) -> None:
    outcome = execute(tmp_path, "raise SystemExit(1)", kills=0)
    assert outcome.problem.startswith("exit status 1 after nothing was disturbed")


def test_what_is_left_behind_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.faults.kills._LEFT_SECONDS", 0.1)
    outcome = execute(tmp_path, "import tempfile; tempfile.mkstemp(prefix='mine-')", kills=0)
    assert len(outcome.left) == 2
    assert all(name.startswith("mine-") for name in outcome.left)


def test_sums_are_those_of_all_trials() -> None:
    row = {"completions": 3, "rewards": 3, "policies": 1, "lost": 0, "differing": 0, "problem": "", "left": []}
    rows = [
        {**row, "case": "kill/pod/plain", "faults": {"train": 2, "reward": 1}},
        {**row, "case": "s3/cut", "faults": {"cut": 4}, "problem": "no end", "lost": 3},
    ]
    sums = summary(rows)
    assert list(sums) == ["kill/pod/plain", "s3/cut", "all"]
    assert sums["all"] == {
        **{"trials": 2, "faults": 7, "survived": 1, "left": 0},
        **{"completions": 6, "rewards": 6, "policies": 2, "lost": 3, "differing": 0},
    }
    assert [is_good(row) for row in rows] == [True, False]


def test_every_fault_happens_to_some_request_that_the_store_makes() -> None:
    requests = [("PUT", "/b/k", True), ("GET", "/b/k", False), ("GET", "/b?list-type=2&prefix=x", False)]
    assert all(any(applies(fault, *request) for request in requests) for fault in FAULTS)
    assert not applies("conflict", "PUT", "/b/k", False)
