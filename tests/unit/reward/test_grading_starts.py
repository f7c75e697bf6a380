"""Grading processes that end while they import their graders."""

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import GraderSpec
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask

STARTS = """
import os, pathlib
starts = pathlib.Path(__file__).parent / "starts"
starts.mkdir(exist_ok=True)
number = len(list(starts.iterdir()))
(starts / str(number)).touch()
{ending}

def grade(completion):
    if completion == "exit": os._exit(1)
    return 1.0
"""


@pytest.fixture
def statuses(tmp_path, monkeypatch):
    """`statuses(ending)`: of three completions, of which the second ends its process; `ending` may end an import."""
    monkeypatch.syspath_prepend(tmp_path)

    def grade(ending):
        (tmp_path / "starting_grader.py").write_text(STARTS.format(ending=ending))
        with GraderPool(resolve_graders([GraderSpec(name="starting_grader:grade")]), 1, 20.0) as pool:
            found = pool.grade([GradingTask("p", text, "a", "{}") for text in ("fine", "exit", "fine")])
            return [outcome.status for _, outcome in sorted(found)]

    return grade


@pytest.mark.parametrize(
    "ending",
    [
        "if number in (0, 2): os.kill(os.getpid(), 9)",
        "if number in (1, 2, 3): raise MemoryError",
        "if number == 1: os._exit(7)",
    ],
)
def test_a_process_that_ends_while_it_imports_is_started_again(statuses, ending):
    assert statuses(ending) == ["ok", "error", "ok"]


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("if number >= 1: os.kill(os.getpid(), 9)", r"SIGKILL"),
        ("os.kill(os.getpid(), 9)", r"SIGKILL"),
        ("if number >= 1: raise OSError('no memory')", r"starting_grader:grade: OSError: no memory"),
    ],
)
def test_processes_that_never_start_stop_the_stage(statuses, ending, reason):
    with pytest.raises(InputError, match=rf"end again and again \({reason}\), as where memory runs out"):
        statuses(ending)
