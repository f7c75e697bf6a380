"""The end of a stage's process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.runtime.progress import EVENTS_VARIABLE

STAGE = """
from components.contract.errors import InputError
from components.runtime.guard import TERMINATION_VARIABLE, exit_on_bad_input
from components.store.base import ObjectMissing
with exit_on_bad_input():
    {body}
print("went on")
"""


def run(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != EVENTS_VARIABLE}
    command = [sys.executable, "-c", STAGE.format(body=body)]
    return subprocess.run(command, capture_output=True, text=True, env=inherited | environment, check=False)


@pytest.mark.parametrize("error", ["InputError", "ObjectMissing"])
def test_bad_input_is_one_line_and_status_2(error: str) -> None:
    ended = run(f"raise {error}('s3://b/x: no such bucket;\\n   create it')")
    assert ended.returncode == 2
    assert ended.stderr == "error: s3://b/x: no such bucket; create it\n"
    assert ended.stdout == ""


def test_a_full_disk_is_one_line_and_names_what_was_written() -> None:
    ended = run("raise OSError(28, 'No space left on device', 'read', None, 'written')")
    assert ended.returncode == 2
    assert ended.stderr == "error: no space is left for written; free some, or set TMPDIR to a directory with more\n"


def test_bad_input_reaches_the_runner_as_an_event() -> None:
    ended = run("raise InputError('no model at /x')", **{EVENTS_VARIABLE: "1"})
    assert ended.returncode == 2
    assert json.loads(ended.stdout) == {"rapid": "error", "message": "no model at /x"}
    assert ended.stderr == ""


def test_a_defect_keeps_its_traceback() -> None:
    ended = run("raise ValueError('a defect')")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "ValueError: a defect" in ended.stderr


def test_interruption_is_quiet() -> None:
    ended = run("raise KeyboardInterrupt")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_good_work_goes_on() -> None:
    ended = run("pass")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "went on\n", "")


@pytest.mark.parametrize("folder", ["", "none/"], ids=["written", "not writable"])
def test_bad_input_is_left_in_the_file_that_was_asked_for(tmp_path: Path, folder: str) -> None:
    log = tmp_path / f"{folder}termination-log"
    ended = run("raise InputError('what is wrong, and where')", RAPID_TERMINATION_LOG=str(log))
    assert ended.returncode == 2
    assert ended.stderr == "error: what is wrong, and where\n"
    assert log.exists() is not bool(folder)
    assert folder or log.read_text(encoding="utf-8") == "what is wrong, and where"
