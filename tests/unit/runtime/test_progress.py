"""The progress lines of a stage."""

import io
import json
import os
import pty
import subprocess
import sys
import time

import pytest

from components.runtime.progress import EVENTS_VARIABLE, StageProgress, emit, note


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day, in a list of one, that a test moves on."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EVENTS_VARIABLE, raising=False)


@pytest.fixture
def under_a_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EVENTS_VARIABLE, "1")


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("in_a_log")
def test_a_log_gets_a_line_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress("iteration 1 rollout", 60, "completions") as bar:
        for done in range(1, 61):
            clock[0] += 1.0
            bar.update(done, f"{done * 10} tokens/s")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "iteration 1 rollout: 15/60 completions in 15 s, 150 tokens/s",
        "iteration 1 rollout: 30/60 completions in 30 s, 300 tokens/s",
        "iteration 1 rollout: 45/60 completions in 45 s, 450 tokens/s",
        "iteration 1 rollout: 60/60 completions in 60 s, 600 tokens/s",
    ]


@pytest.mark.usefixtures("in_a_log", "clock")
def test_a_log_gets_the_end_however_short_the_work_was(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress("grading", 3, "completions") as bar:
        for done in (1, 2, 3, 3):
            bar.update(done)
    assert capsys.readouterr().err == "grading: 3/3 completions in 0 s\n"
    with StageProgress("training", 3, "steps") as bar:
        bar.update(1)
        bar.end(2)
    assert capsys.readouterr().err == "training: 2/2 steps in 0 s\n"


@pytest.mark.usefixtures("under_a_runner")
def test_a_runner_gets_events(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress("training", 10, "steps") as bar:
        for done in range(1, 11):
            clock[0] += 0.1
            bar.update(done, f"loss {done}")
    out, err = capsys.readouterr()
    assert err == ""
    found = events(out)
    assert [event["done"] for event in found] == [0, 3, 6, 9, 10]
    assert found[1] == {
        "rapid": "progress",
        "label": "training",
        "done": 3,
        "total": 10,
        "unit": "steps",
        "stats": "loss 3",
    }


@pytest.mark.usefixtures("under_a_runner")
def test_events_are_one_line_of_json_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert emit("note", text='two\nlines, "quotes", 模型', number=0.1)
    assert capsys.readouterr().out.count("\n") == 1
    note("half-way")
    assert events(capsys.readouterr().out) == [{"rapid": "note", "text": "half-way"}]


@pytest.mark.usefixtures("in_a_log")
def test_without_a_runner_there_are_no_events(capsys: pytest.CaptureFixture[str]) -> None:
    assert not emit("note", text="x")
    note("half-way")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "half-way\n")


@pytest.mark.usefixtures("in_a_log")
def test_a_failure_in_the_work_is_not_swallowed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), StageProgress("training", 10, "steps") as bar:
        bar.update(1 // 0)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar() -> None:
    program = (
        "from components.runtime.progress import StageProgress\n"
        "with StageProgress('training', 2, 'steps') as bar:\n"
        "    bar.update(1, '9 tokens/s'); bar.update(2, '10 tokens/s')\n"
    )
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != EVENTS_VARIABLE}
    environment |= {"TERM": "xterm", "COLUMNS": "120"}
    ran = subprocess.run([sys.executable, "-c", program], stderr=theirs, stdout=subprocess.PIPE, env=environment)
    os.close(theirs)
    shown = io.BytesIO()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while chunk := terminal.read(4096):
                shown.write(chunk)
        except OSError:
            pass  # Linux ends a terminal that nobody holds open with EIO
    assert ran.returncode == 0
    assert ran.stdout == b""
    text = shown.getvalue().decode()
    assert "training" in text
    assert "2/2" in text
    assert "10 tokens/s" in text
