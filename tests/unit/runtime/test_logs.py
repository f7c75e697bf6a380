"""The output of children: printed on by their parent process, and left in the run."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from components.contract.layout import Round, RunLayout
from components.runtime import log_writer
from components.runtime.log_lines import LogLines
from components.runtime.log_writer import LogWriter
from components.store import Store, open_store
from components.store.attempt_logs import AttemptLog, LogPlace, read_logs

PARENT = """
import json, sys
from components.contract.layout import Round
from components.runtime import log_writer, parent
from components.runtime.parent import Limits, run_children
from components.runtime.processes import Child
from components.store.attempt_logs import LogPlace

log_writer.WRITE_SECONDS = 0.05
parent._LOG_SECONDS = 1.0
uri, code, retries, *others = sys.argv[1:]
place = LogPlace(uri, "reward", 1, Round.iteration(3))
children = [Child("reward shard 1", [sys.executable, "-uc", code], log=place)]
for shard, other in enumerate(others, 2):
    children.append(Child(f"reward shard {shard}", [sys.executable, "-uc", other], log=LogPlace(uri, "reward", shard)))
run_children(children, Limits(retries=int(retries), backoff_seconds=0))
"""
STAMP = re.compile(r"\d\d-\d\d \d\d:\d\d:\d\d ")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def start(
    uri: str, code: str, retries: int = 0, others: Sequence[str] = (), **environment: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, uri, code, str(retries), *others],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def logs(store: Store) -> list[AttemptLog]:
    return read_logs(store, RunLayout("r"))


def text(log: AttemptLog) -> list[str]:
    """Return the lines without their times."""
    return [STAMP.sub("", line, count=1) for line in log.text()]


def test_output_is_printed_on_as_it_is_and_kept_without_secrets(store: Store, tmp_path: Path) -> None:
    events = [{"rapid": "note", "text": "2 rows are bad"}, {"rapid": "iteration", "number": 1}]
    code = f"""
import os, sys
print("out \\x1b[31mred\\x1b[0m", os.environ["JUDGE_API_KEY"])
for event in {[json.dumps(event) for event in events]}: print(event)
print("loading 10%\\rloading 100%", file=sys.stderr)
print("at postgresql://me:pa/ss@db/x, s3://bucket/key?X-Amz-Signature=1", file=sys.stderr)
"""
    process = start(f"{tmp_path}/runs/r", code, JUDGE_API_KEY="sk-verysecret")
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output.splitlines() == ["out \x1b[31mred\x1b[0m sk-verysecret", *map(json.dumps, events)]
    assert "loading 100%\nat postgresql://me:pa/ss@db/x" in errors
    (log,) = logs(store)
    assert sorted(text(log)) == sorted(
        ["out red ***", "2 rows are bad", "loading 100%", "at postgresql://db/x, s3://bucket/key"]
    )
    record = log.record
    assert (record.stage, record.shard, record.round, record.attempt) == ("reward", 1, "iteration-0003", 1)
    assert (record.outcome, record.status, record.reason) == ("succeeded", 0, "")
    assert record.ended is not None
    assert record.started < record.ended


def test_every_start_has_a_log_with_how_it_ended(store: Store, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from components.contract.errors import InputError
from components.runtime.guard import exit_on_bad_input
with exit_on_bad_input():
    if Path({str(tmp_path / "second")!r}).exists():
        raise InputError("cannot reach http://rapid-s3:8333")
    Path({str(tmp_path / "second")!r}).touch()
    raise RuntimeError("out of memory")
"""
    process = start(f"{tmp_path}/runs/r", code, retries=3)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "reward shard 1 ended with exit status 1 (RuntimeError: out of memory); started again (1 of 3)" in errors
    first, second = logs(store)
    assert (first.record.outcome, first.record.reason) == ("crashed", "RuntimeError: out of memory")
    assert text(first)[0].startswith("Traceback")
    assert (second.record.attempt, second.record.outcome) == (2, "failed")
    assert second.record.reason == "cannot reach http://rapid-s3:8333"
    assert text(second) == ["error: cannot reach http://rapid-s3:8333"]


def test_a_begun_line_is_printed_on_and_a_killed_parent_leaves_what_came_before(store: Store, tmp_path: Path) -> None:
    process = start(f"{tmp_path}/runs/r", "import time; print('one\\ntwo', end=''); time.sleep(60)")
    assert process.stdout
    assert [process.stdout.read(4), process.stdout.read(3)] == ["one\n", "two"]
    deadline = time.monotonic() + 20
    while not (found := logs(store)) or not found[0].size:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    (log,) = logs(store)
    assert text(log) == ["one"]
    assert log.record.outcome is None


def test_what_is_ended_with_its_pod_was_stopped(store: Store, tmp_path: Path) -> None:
    process = start(f"{tmp_path}/runs/r", "import time; print('up', flush=True); time.sleep(60)")
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    process.terminate()
    process.communicate(timeout=20)
    (log,) = logs(store)
    assert (log.record.outcome, log.record.status) == ("stopped", -signal.SIGTERM)
    assert text(log) == ["up"]


def test_the_logs_of_all_are_ended_with_that_of_the_one_that_fails(store: Store, tmp_path: Path) -> None:
    up = f"from pathlib import Path; import sys, time; up = Path({str(tmp_path / 'up')!r})\n"
    waits = up + "while not up.exists(): time.sleep(0.01)\nsys.exit(2)"
    process = start(f"{tmp_path}/runs/r", waits, others=[waits, up + "up.touch(); time.sleep(60)"])
    process.communicate(timeout=20)
    assert process.returncode == 2
    outcomes = {log.worker: log.record.outcome for log in logs(store)}
    assert outcomes.pop("reward-003") == "stopped"
    assert "failed" in outcomes.values()
    assert set(outcomes.values()) <= {"failed", "stopped"}


def test_a_store_that_does_not_answer_delays_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(
            "s3://bucket/runs/r",
            "import sys; print(('x' * 999 + chr(10)) * 20000)",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{silent.getsockname()[1]}",
            AWS_ACCESS_KEY_ID="a",
            AWS_SECRET_ACCESS_KEY="b",
            KUBERNETES_SERVICE_HOST="here",  # in a pod, where S3 is waited for
        )
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, len(output), errors) == (0, 20_000_001, "")


def test_a_long_log_keeps_its_beginning_and_its_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 100)
    monkeypatch.setattr(log_writer, "MOST_SEGMENTS", 4)
    monkeypatch.setattr(log_writer, "WRITE_SECONDS", 0.001)
    writer = LogWriter()
    writer.keep(LogPlace(f"{tmp_path}/runs/r", "train"))
    for number in range(1000):
        writer.append(f"{number:09d}\n".encode())
    writer.end(0, "", "succeeded")
    writer.wait(20)
    (log,) = logs(store)
    lines = list(log.text())
    assert lines[:20] == [f"{number:09d}" for number in range(20)]
    assert lines[20] == "[9,600 bytes are left out here]"
    assert lines[21:] == [f"{number:09d}" for number in range(980, 1000)]
    assert log.size == 10_000
    assert list(log.text(after=9_980)) == ["000000998", "000000999"]


def test_the_oldest_logs_of_a_stage_and_shard_go(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "_KEPT_BYTES", 1500)
    for _ in range(4):
        writer = LogWriter()
        writer.append(b"x" * 600 + b"\n")
        writer.keep(LogPlace(f"{tmp_path}/runs/r", "train", round_=Round.iteration(1)))
        writer.end(1, "bad", "failed")
        writer.wait(20)
    assert [log.record.attempt for log in logs(store)] == [3, 4]


def test_a_bar_that_moves_is_a_line_from_time_to_time() -> None:
    lines = LogLines([])
    events = [{"rapid": "progress", "label": "train", "done": done, "total": 4, "unit": "steps"} for done in range(5)]
    kept = [lines.line(json.dumps(event).encode()) for event in events]
    assert [STAMP.sub("", line.decode()) for line in kept if line] == ["train: 0/4 steps\n", "train: 4/4 steps\n"]


def test_the_reason_of_a_crash_is_the_exception_and_not_what_is_said_after_it() -> None:
    lines = LogLines([])
    for line in ("Traceback (most recent call last):", '  File "a.py", line 1, in f', "MemoryError: 80 GiB", "leaked"):
        lines.line(line.encode())
    assert lines.reason(1) == "MemoryError: 80 GiB"
    assert lines.reason(-9) == ""
    lines.line(b"error: no such file")
    assert lines.reason(2) == "no such file"
