"""`rapid logs` over runs in a store and on a cluster."""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.contract.layout import Round, RunLayout
from components.runtime.log_writer import LogWriter
from components.store import Run, open_store
from components.store.attempt_logs import LogPlace, read_logs
from pipelines.cli.main import main
from tests.support.fake_run import prepared_run
from tests.support.left_log import leave_log

Rapid = Callable[..., tuple[int, list[str], str]]
TIMES = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC on [^\s,]+|^\d\d-\d\d \d\d:\d\d:\d\d", re.MULTILINE)


@pytest.fixture
def rapid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Rapid:
    """Return a function that runs `rapid logs` and returns status, lines with T for times, and errors."""
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    monkeypatch.setenv("KUBECONFIG", "/nowhere")

    def call(*words: object) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["rapid", "logs", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), TIMES.sub("T", said.out).splitlines(), said.err

    return call


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = prepared_run(tmp_path, tracking={"enabled": False}).run
    leave_log(run.uri, "prepare", ["6 prompts"])
    begins = [f"iteration 000{n} rollout shard 0 begins" for n in (1, 2)]
    leave_log(run.uri, "rollout", ["starting", begins[0], "one", begins[1], "two"], shard=0)
    leave_log(run.uri, "reward", ["bang"], "crashed", "ended by SIGKILL", shard=0, round_=Round.iteration(2))
    leave_log(run.uri, "reward", ["graded"], shard=0, round_=Round.iteration(2))
    leave_log(run.uri, "train", ["error: no space"], "failed", "no space")
    return run


def test_every_attempt_has_a_line_and_its_output(run: Run, rapid: Rapid) -> None:
    status, lines, _ = rapid(run.uri)
    assert status == 0
    assert lines == [
        "== prepare, attempt 1: began T, succeeded after 0 s",
        "T 6 prompts",
        "== rollout, shard 0, attempt 1: began T, succeeded after 0 s",
        "T starting",
        "T iteration 0001 rollout shard 0 begins",
        "T one",
        "T iteration 0002 rollout shard 0 begins",
        "T two",
        "== reward, shard 0, iteration 2, attempt 1: began T, crashed after 0 s: ended by SIGKILL",
        "T bang",
        "== reward, shard 0, iteration 2, attempt 2: began T, succeeded after 0 s",
        "T graded",
        "== train, attempt 1: began T, failed after 0 s: no space",
        "T error: no space",
    ]


def test_a_stage_an_iteration_and_a_shard_are_picked(run: Run, rapid: Rapid) -> None:
    headline = "== rollout, shard 0, attempt 1: began T, succeeded after 0 s"
    begins = "T iteration 0002 rollout shard 0 begins"
    assert rapid(run.uri, "rollout", "--iteration", 2)[1] == [headline, begins, "T two"]
    assert [line for line in rapid(run.uri, "--iteration", 2)[1] if line.startswith("==")] == [
        headline,
        "== reward, shard 0, iteration 2, attempt 1: began T, crashed after 0 s: ended by SIGKILL",
        "== reward, shard 0, iteration 2, attempt 2: began T, succeeded after 0 s",
    ]
    status, _, error = rapid(run.uri, "reward", "--shard", 1)
    assert (status, error) == (2, f"error: {run.uri} holds no such log; without options, all of them are shown\n")


def test_a_run_that_prepare_refused_has_its_log_by_name_and_by_configuration(tmp_path: Path, rapid: Rapid) -> None:
    leave_log(f"{tmp_path}/runs/refused", "prepare", ["error: no such file"], "failed", "no such file")
    config = tmp_path / "my.yaml"
    settings = {
        "run": {"name": "refused"},
        "store": {"uri": str(tmp_path)},
        "model": {"path": "owner/model"},
        "data": {"train": "prompts.jsonl"},
        "reward": {"graders": [{"name": "exact"}]},
    }
    config.write_text(json.dumps(settings), encoding="utf-8")
    for words in (("refused", "--store", tmp_path), (config,)):
        assert rapid(*words)[1] == [
            "== prepare, attempt 1: began T, failed after 0 s: no such file",
            "T error: no such file",
        ]


def test_a_run_without_logs_is_not_a_missing_run(tmp_path: Path, rapid: Rapid) -> None:
    run = prepared_run(tmp_path, tracking={"enabled": False}).run
    assert "holds no logs: no stage has started since logs are kept" in rapid(run.uri)[2]
    assert f"it holds {run.layout.run}); name another store with --store" in rapid("other", "--store", run.store.uri)[2]


def test_a_run_is_followed_to_its_end(tmp_path: Path, rapid: Rapid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.runtime.log_writer.WRITE_SECONDS", 0.01)
    layout, store = RunLayout("r"), open_store(str(tmp_path))
    writer = LogWriter()

    def write(line: str) -> None:
        writer.append(f"{line}\n".encode())
        deadline = time.monotonic() + 20
        while not any(line in log.text() for log in read_logs(store, layout)):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end() -> None:
        writer.end(0, "", "succeeded")
        writer.wait(20)

    writer.keep(LogPlace(f"{tmp_path}/runs/r", "publish"))
    write("first")
    steps: list[Callable[[], None]] = [lambda: write("second"), lambda: None, end]
    monkeypatch.setattr("pipelines.cli.logs_command.time", SimpleNamespace(sleep=lambda _: steps.pop(0)()))
    status, lines, _ = rapid("r", "--store", tmp_path, "--follow")
    assert status == 0
    assert lines == [
        "== publish, attempt 1: began T, has not said how it ended",
        "first",
        "second",
        "== publish, attempt 1: began T, succeeded after 0 s",
    ]


def test_ctrl_c_stops_following(run: Run, rapid: Rapid, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    leave_log(run.uri, "prepare", ["again"])  # so that the failure is that of an earlier start
    monkeypatch.setattr("pipelines.cli.logs_command.time", SimpleNamespace(sleep=interrupt))
    status, lines, error = rapid(run.uri, "prepare", "--follow")
    assert (status, lines[-1], error) == (130, "T again", "")
