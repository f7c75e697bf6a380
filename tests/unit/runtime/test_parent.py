"""Children that end, crash, hang and leave processes behind, under a parent process of their own."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.runtime.parent import Limits
from components.runtime.stage_process import stage_child

PARENT = """
import json, sys
from components.runtime import parent
from components.runtime.parent import Limits, run_children
from components.runtime.processes import Child

parent._GRACE_SECONDS = 1.0
children = [Child(name, [sys.executable, "-c", code]) for name, code in json.loads(sys.argv[1]).items()]
run_children(children, Limits(**json.loads(sys.argv[2])), failed=lambda name, how: print(f"failed: {name}, {how}"))
print("all ended well")
"""
# `start` is the number of this start of the child, from 1.
CHILD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from components.runtime.processes import tell_parent
counter = Path({counter!r})
start = len(counter.read_bytes()) + 1 if counter.exists() else 1
counter.write_bytes(b"x" * start)
{code}
"""
FAST = {"backoff_seconds": 0.05, "backoff_factor": 1.0}


class Parent:
    """A parent process and the counters of its children's starts."""

    def __init__(self, directory: Path, limits: dict[str, float], **children: str) -> None:
        self._directory = directory
        programs = {name: CHILD.format(counter=str(directory / name), code=code) for name, code in children.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, json.dumps(programs), json.dumps(FAST | limits)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Tests that run under nohup must not hand its ignored SIGHUP on.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )

    def end(self) -> tuple[int, str, list[str]]:
        """Return exit status, output and notes."""
        output, notes = self.process.communicate(timeout=30)
        return self.process.returncode, output, notes.splitlines()

    def starts(self, name: str) -> int:
        return len((self._directory / name).read_bytes())

    def file(self, name: str) -> str:
        """Wait for a file that a child writes; return its content."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            path = self._directory / name
            if path.exists() and (text := path.read_text(encoding="utf-8")):
                return text
            time.sleep(0.02)
        raise AssertionError(f"no {name}")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for_end(*pids: int) -> None:
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"still alive: {[pid for pid in pids if is_alive(pid)]}"
        time.sleep(0.02)


def test_children_run_side_by_side_to_their_end(tmp_path: Path) -> None:
    other = "while not Path({!r}).exists(): time.sleep(0.01)"
    parent = Parent(tmp_path, {}, one=other.format(str(tmp_path / "two")), two=other.format(str(tmp_path / "one")))
    assert parent.end() == (0, "all ended well\n", [])


def test_a_crashed_child_is_started_again_with_a_line_that_says_why(tmp_path: Path) -> None:
    code = "if start == 1: os.kill(os.getpid(), signal.SIGKILL)\nif start == 2: sys.exit(7)"
    parent = Parent(tmp_path, {"backoff_seconds": 0.05, "backoff_factor": 4.0}, train=code)
    status, output, notes = parent.end()
    assert (status, output) == (0, "all ended well\n")
    assert notes == [
        "train ended by SIGKILL; started again (1 of 3) in 0.05 s",
        "train ended with exit status 7; started again (2 of 3) in 0.2 s",
    ]


def test_bad_input_is_not_tried_again_and_ends_the_others(tmp_path: Path) -> None:
    parent = Parent(
        tmp_path,
        {},
        reward=f"Path({str(tmp_path / 'up')!r}).touch(); time.sleep(60)",
        train=f"while not Path({str(tmp_path / 'up')!r}).exists(): time.sleep(0.01)\nsys.exit(2)",
    )
    assert parent.end() == (2, "", [])
    assert parent.starts("train") == 1


def test_a_child_that_crashes_for_good_ends_the_others_and_is_reported(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"retries": 1}, rollout="time.sleep(60)", train="sys.exit(9)")
    status, output, notes = parent.end()
    assert (status, output) == (1, "failed: train, ended with exit status 9, after 2 starts without a commit\n")
    assert notes[-1] == "train ended with exit status 9, after 2 starts without a commit; it is not started again"
    assert parent.starts("train") == 2


def test_the_count_of_starts_begins_anew_after_each_commit(tmp_path: Path) -> None:
    code = "tell_parent('working')\nif start < 4: tell_parent('committed')\nif start < 5: os.abort()"
    status, _, notes = Parent(tmp_path, {"retries": 2}, train=code).end()
    assert status == 0
    assert [line.split("again ")[1][:8] for line in notes] == ["(1 of 2)", "(1 of 2)", "(1 of 2)", "(2 of 2)"]


def test_a_round_that_takes_too_long_counts_as_a_crash_and_waiting_does_not(tmp_path: Path) -> None:
    code = "tell_parent('waiting'); time.sleep(1.8); tell_parent('working')\nif start == 1: time.sleep(60)"
    status, _, notes = Parent(tmp_path, {"timeout_minutes": 1.5 / 60}, train=code).end()
    assert status == 0
    assert notes == ["train worked for 0.025 min without a commit and was killed; started again (1 of 3) in 0.05 s"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_passed_on(number: signal.Signals, tmp_path: Path) -> None:
    code = f"""
def stop(number, frame):
    Path({str(tmp_path / "stopped")!r}).write_text(str(number))
    sys.exit(0)
signal.signal({int(number)}, stop)
Path({str(tmp_path / "ready")!r}).write_text("yes")
time.sleep(60)
"""
    parent = Parent(tmp_path, {}, train=code)
    parent.file("ready")
    parent.process.send_signal(number)
    assert parent.end() == (128 + number, "", [])
    assert parent.file("stopped") == str(int(number))


ORPHAN = """
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
Path({path!r}).write_text(f"{{os.getpid()}} {{grandchild.pid}}")
"""


def test_what_a_crashed_child_has_started_is_gone_before_it_starts_again(tmp_path: Path) -> None:
    code = f"""
if start == 1:
    {ORPHAN.format(path=str(tmp_path / "pids")).replace(chr(10), chr(10) + "    ")}
    os.abort()
grandchild = Path({str(tmp_path / "pids")!r}).read_text().split()[1]
assert not Path(f"/proc/{{grandchild}}").exists()
"""
    status, _, notes = Parent(tmp_path, {}, rollout=code).end()
    assert (status, len(notes)) == (0, 1)


def test_children_die_with_the_parent(tmp_path: Path) -> None:
    code = f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); time.sleep(60)"
    parent = Parent(tmp_path, {}, train=code)
    child = int(parent.file("pid"))
    parent.process.kill()
    parent.end()
    wait_for_end(child)


def test_what_ignores_the_end_is_killed(tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ORPHAN.format(path=str(tmp_path / "pids"))
    parent = Parent(tmp_path, {}, train=code + "time.sleep(60)")
    pids = [int(word) for word in parent.file("pids").split()]
    begin = time.monotonic()
    parent.process.terminate()
    assert parent.end()[0] == 128 + signal.SIGTERM
    assert time.monotonic() - begin < 5
    wait_for_end(*pids)


def test_limits_come_as_text_and_name_what_is_wrong() -> None:
    limits = Limits.from_json('{"retries": 5, "backoff_seconds": 2, "max_backoff_seconds": 7}')
    assert [limits.delay(retry) for retry in (1, 2, 3)] == [2, 4, 7]
    with pytest.raises(InputError, match=r"limits: retries must be at least 0 \(got -1\)"):
        Limits.from_json('{"retries": -1}')
    with pytest.raises(InputError, match="limits are not JSON"):
        Limits.from_json("{")


def test_a_stages_worker_has_its_command_line() -> None:
    child = stage_child("/store/runs/r", "rollout", Limits(silence_minutes=5), [2], ["--share-gpu"])
    assert child.name == "rollout shard 2"
    assert child.words[1:] == ["-m", "components.rollout", "/store/runs/r", "--follow", "--shard", "2", "--share-gpu"]
    assert dict(child.environment) == {"RAPID_SILENCE_MINUTES": "5.0"}
    assert stage_child("/store/runs/r", "train", Limits()).name == "train"
