"""A process ends, whatever it computes, soon after its run is cancelled or its launcher has fallen silent."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.runtime.ending import LAUNCHED_VARIABLE
from components.runtime.heartbeat import Heartbeat
from components.store import Attempt, Run
from components.store.cancellation import cancel
from tests.support.fake_run import prepared_run

COMPUTES = """
import sys, time
from components.runtime import ending
from components.store import open_run
ending._LOOK_SECONDS = 0.02
with ending.EndsWithRun(open_run(sys.argv[1])):
    print("computes", flush=True)
    time.sleep(float(sys.argv[2]))
print("has computed")
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return prepared_run(tmp_path).run


def start(run: Run, seconds: float) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", COMPUTES, run.uri, str(seconds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "computes\n"
    return process


def test_a_process_ends_with_the_run(run: Run) -> None:
    process = start(run, 60)
    cancel(run.store, run.layout)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert err == "error: the run is cancelled; what is committed is kept, and its next start goes on from there\n"


def test_a_process_of_a_training_job_ends_with_its_launcher(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCHED_VARIABLE, "1")
    monkeypatch.setattr("components.runtime.heartbeat.BEAT_SECONDS", 0.05)
    monkeypatch.setattr("components.runtime.heartbeat._PAUSE_SECONDS", 0.0)
    with Heartbeat([Attempt.claim(run.store, run.layout.launcher)]):
        process = start(run, 1.2)
        assert process.wait(30) == 0  # three times as long as silence may last
    process = start(run, 60)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "error: the launcher of this training job has not been heard of" in err


def test_other_processes_have_no_launcher(run: Run) -> None:
    process = start(run, 1)
    assert process.communicate(timeout=30) == ("has computed\n", "")
