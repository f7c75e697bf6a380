"""The supervisor of layout pod, with children that only record how they were started."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.contract.errors import InputError
from components.pod import supervisor
from components.runtime.failure import read_failure
from components.runtime.parent import Limits
from components.store import Run
from components.store.attempt_logs import read_logs

SUPERVISOR = """
import socket, sys
from components.pod import supervisor
from components.runtime.parent import Limits
from components.runtime.processes import Child
from components.runtime.worker import SILENCE_VARIABLE
from components.store.attempt_logs import LogPlace

directory, status, descriptor = sys.argv[1:]

def stage_child(run_uri, stage, limits, shards=(), options=()):
    words = [sys.executable, "-m", "tests.support.recorded_child", f"{directory}/{stage}", status, run_uri, *options]
    return Child(stage, words, {SILENCE_VARIABLE: str(limits.silence_minutes)}, LogPlace(run_uri, stage))

supervisor.stage_child = stage_child
supervisor.STAGES = ("reward",)  # its libraries are light
supervisor.serve(socket.socket(fileno=int(descriptor)))
"""
LIMITS = Limits(retries=1, backoff_seconds=0, silence_minutes=4)


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    return make_run()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], "subprocess.Popen[str]"]:
    """Return a function that starts a supervisor whose children end with the given status."""

    def started(status: int) -> "subprocess.Popen[str]":
        folder = tmp_path / ("long" * 40)  # the kernel takes 108 characters at most
        folder.mkdir(exist_ok=True)
        path = folder / "socket"
        with socket.socket(socket.AF_UNIX) as listening:
            with supervisor.socket_address(path) as address:
                listening.bind(address)
            listening.listen()
            monkeypatch.setenv(supervisor.SOCKET_VARIABLE, str(path))
            return subprocess.Popen(
                [sys.executable, "-c", SUPERVISOR, str(tmp_path), str(status), str(listening.fileno())],
                pass_fds=[listening.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )

    return started


def recorded(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "reward").read_text(encoding="utf-8"))


def test_processes_that_wait_become_the_workers_of_the_run(
    run: Run, start: Callable[[int], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = start(0)
    supervisor.run_stages(run.uri, LIMITS)
    assert process.wait(20) == 0
    assert recorded(tmp_path) == {"words": [run.uri], "reports": True, "silence": "4.0", "warm": True}
    (log,) = read_logs(run.store, run.layout, "reward")
    assert log.record.outcome == "succeeded"
    assert next(log.text()).endswith(f"served {run.uri}")


def test_bad_input_of_a_worker_is_the_tasks(run: Run, start: Callable[[int], "subprocess.Popen[str]"]) -> None:
    process = start(2)
    with pytest.raises(SystemExit) as ended:
        supervisor.run_stages(run.uri, LIMITS)
    assert (ended.value.code, process.wait(20)) == (2, 2)


def test_a_crash_for_good_is_left_in_the_run(
    run: Run, start: Callable[[int], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = start(5)
    with pytest.raises(SystemExit) as ended:
        supervisor.run_stages(run.uri, LIMITS)
    assert (ended.value.code, process.wait(20)) == (1, 1)
    failure = read_failure(run)
    assert failure is not None
    assert failure.stage == "reward"
    assert failure.message == "ended with exit status 5, after 2 starts without a commit"
    assert not recorded(tmp_path)["warm"], "it is started again by its command line"


def test_a_supervisor_that_is_killed_ends_the_task(
    run: Run, start: Callable[[int], "subprocess.Popen[str]"], capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(0)
    process.kill()
    process.wait()
    with pytest.raises(SystemExit) as ended:
        supervisor.run_stages(run.uri, LIMITS)
    assert ended.value.code == 1
    assert "the process that supervises the stages has ended" in capsys.readouterr().err


def test_no_such_run_is_refused(start: Callable[[int], "subprocess.Popen[str]"], tmp_path: Path) -> None:
    process = start(0)
    with pytest.raises(SystemExit) as ended:
        supervisor.run_stages(f"{tmp_path}/store/runs/other", LIMITS)
    assert ended.value.code == 2
    assert "there is no run at" in process.communicate(timeout=20)[1]


def test_without_a_supervisor_the_task_is_one_and_refuses_an_unknown_run(tmp_path: Path) -> None:
    assert supervisor.SOCKET_VARIABLE not in os.environ
    with pytest.raises(InputError, match="there is no run at"):
        supervisor.run_stages(f"{tmp_path}/store/runs/other", LIMITS)
