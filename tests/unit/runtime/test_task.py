"""A task of the pipeline whose stage fails for good leaves the reason in the run."""

import sys
from pathlib import Path

import pytest

from components.runtime import task
from components.runtime.failure import Failure, read_failure
from components.runtime.parent import Limits
from components.runtime.processes import Child
from components.runtime.task import run_task
from components.store import Run
from tests.support.fake_run import prepared_run

REFUSES = """
from components.contract.errors import InputError
from components.runtime.guard import exit_on_bad_input
with exit_on_bad_input():
    raise InputError("no such grader")
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return prepared_run(tmp_path, tracking={"enabled": False}).run


def failed(run: Run, monkeypatch: pytest.MonkeyPatch, code: str) -> tuple[object, Failure | None]:
    """Run a task whose stage is this Python code; return its exit status and what is left in the run."""
    monkeypatch.setattr(task, "Child", lambda name, _words, log: Child(name, [sys.executable, "-c", code], log=log))
    with pytest.raises(SystemExit) as ended:
        run_task("reward", run.uri, Limits(retries=1, backoff_seconds=0))
    return ended.value.code, read_failure(run)


def test_bad_input_with_its_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failed(run, monkeypatch, REFUSES) == (2, Failure(stage="reward", message="no such grader"))


@pytest.mark.parametrize("why", ["Superseded", "RunCancelled"])
def test_a_process_that_is_no_longer_wanted_has_not_failed(run: Run, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    ends = REFUSES.replace("InputError", why).replace("contract.errors", "store")
    assert failed(run, monkeypatch, ends) == (2, None)


def test_a_crash_with_how_it_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status, failure = failed(run, monkeypatch, "import sys; sys.exit(9)")
    assert status == 1
    assert failure is not None
    assert failure.message.startswith("ended with exit status 9")
