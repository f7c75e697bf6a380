"""Following a run: iterations from its store, tasks from Kubeflow where the store is out of reach, how it ended."""

import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.contract.layout import Round
from components.runtime.failure import report_failure
from components.runtime.heartbeat import Beat, State
from tests.support.documented import undocumented
from tests.support.fake_run import START, FakeRun, prepared_run
from tests.support.kfp_server import KfpServer
from tests.support.kfp_server.server import Fault
from tests.support.left_log import leave_log

Rapid = Callable[..., "Said"]  # noqa: F821 - of conftest
PAGE = "kubernetes/running.md"


@pytest.fixture
def started(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, moto: str
) -> Callable[..., tuple[str, FakeRun]]:
    """A submitted run, and the same run as its stages would write it into the store."""

    def start(name: str = "adder") -> tuple[str, FakeRun]:
        said = rapid("submit", config, f"store={moto}/fine-tunes", f"run.name={name}", "--cluster", small)
        assert said.status == 0, said.err
        run_id = next(run["run_id"] for run in server.cluster.runs.values() if run["display_name"] == name)
        return run_id, prepared_run(f"{moto}/fine-tunes", name, tracking={"enabled": False})

    return start


def test_iterations_as_they_are_committed_and_the_table_at_the_end(
    rapid: Rapid, server: KfpServer, started: Callable[..., tuple[str, FakeRun]]
) -> None:
    run_id, fake = started()
    server.cluster.scripts[run_id] = [
        lambda: None,  # finds the run
        lambda: server.cluster.begin(run_id),
        lambda: fake.iteration(1),
        lambda: None,
        lambda: (fake.iteration(2), fake.round(Round.evaluation(2))),
        lambda: server.cluster.end(run_id, "SUCCEEDED"),
    ]
    said = rapid("status", "adder", "--watch")
    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == "running in Kubeflow"
    told = [line for line in lines if line.startswith(("iteration", "succeeded in"))]
    assert [line.split(":")[0].split(";")[0] for line in told] == [
        "iteration 1",
        "iteration 2",
        "succeeded in Kubeflow",
    ]
    assert "4 updates, effective sample" in told[0]
    assert "completions" in said.out
    assert f"succeeded: {server.url}/#/runs/details/{run_id}" in lines[-1]


def test_a_failure_without_a_reason_names_the_task_and_how_to_find_its_pod(
    rapid: Rapid, server: KfpServer, started: Callable[..., tuple[str, FakeRun]]
) -> None:
    run_id, fake = started()
    fake.iteration(1)
    cluster = server.cluster

    def fail() -> None:
        cluster.stage(run_id, "reward", "SUCCEEDED", 2, shard=0)
        cluster.stage(run_id, "train", "FAILED", 2)
        cluster.end(run_id, "FAILED")

    cluster.scripts[run_id] = [
        lambda: None,
        lambda: cluster.begin(run_id),
        fail,
    ]
    said = rapid("status", "adder", "--watch")
    assert said.status == 1
    assert said.err.splitlines() == [
        "error: iteration 2, train failed without leaving a reason",
        f"its pods, for an hour or so: kubectl get pods -n kubeflow -l pipeline/runid={run_id}",
        "committed stages are kept; once the cause is fixed, continue with: rapid resume adder",
    ]
    assert not undocumented(said.err, PAGE)
    assert "iteration 1:" in said.out
    # Looked at later it says the same.
    later = rapid("status", run_id)
    assert (later.status, later.err) == (1, said.err)


def test_a_failure_is_the_reason_that_a_stage_has_left_in_the_run(
    rapid: Rapid, server: KfpServer, started: Callable[..., tuple[str, FakeRun]]
) -> None:
    run_id, fake = started()
    report_failure(fake.run, "reward", "grader absent:f cannot be imported")
    server.cluster.end(run_id, "FAILED")
    for words in (["adder", "--watch"], [run_id]):
        said = rapid("status", *words)
        assert said.status == 1
        assert said.err.splitlines()[:-1] == [
            "error: reward: grader absent:f cannot be imported",
            "its log: rapid logs adder reward",
        ]
        assert not undocumented(said.err, PAGE)


def test_what_prepare_refused_is_read_from_its_log(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, moto: str
) -> None:
    rapid("submit", config, f"store={moto}/fine-tunes", "--cluster", small)
    (run_id,) = server.cluster.runs
    server.cluster.stage(run_id, "prepare", "FAILED")
    server.cluster.end(run_id, "FAILED")
    assert rapid("status", "adder").err.splitlines()[0] == "error: prepare failed without leaving a reason"
    leave_log(f"{moto}/fine-tunes/runs/adder", "prepare", ["error: no such file"], "failed", "no such file")
    assert rapid("status", "adder").err.splitlines() == [
        "error: prepare: no such file",
        "its log: rapid logs adder prepare",
        "committed stages are kept; once the cause is fixed, continue with: rapid resume adder",
    ]
    assert rapid("logs", "adder").out.splitlines()[-1].endswith("error: no such file")


def lost(server: KfpServer, run: dict[str, object], fake: FakeRun, silent: bool) -> list[Callable[[], None]]:
    """Return the events of a run one of whose pods vanishes: it fails, with or without a note of the others."""
    run_id = str(run["run_id"])
    note = functools.partial(report_failure, fake.run, "train", "worker reward-000 has not been heard of", lost=True)
    return [
        lambda: server.cluster.begin(run_id),
        lambda: server.cluster.stage(run_id, "prepare", "SUCCEEDED"),
        note if silent else (lambda: None),
        lambda: server.cluster.stage(run_id, "reward", "FAILED"),
        lambda: server.cluster.end(run_id, "FAILED"),
    ]


@pytest.mark.parametrize("silent", [False, True])
def test_a_run_that_lost_a_pod_goes_on_by_itself_so_many_times(
    rapid: Rapid, server: KfpServer, started: Callable[..., tuple[str, FakeRun]], silent: bool
) -> None:
    run_id, fake = started()
    fake.iteration(1)
    create = server.cluster.create_run

    def create_and_lose(body):
        run = create(body)
        fake.run.store.delete(fake.run.layout.failure)  # as prepare does
        server.cluster.scripts[run["run_id"]] = lost(server, run, fake, silent)
        return run

    server.cluster.create_run = create_and_lose  # type: ignore[method-assign]
    server.cluster.end(run_id, "FAILED")
    said = rapid("resume", "adder", "--watch", "--resume", "2")
    assert said.status == 1
    assert len(server.cluster.runs) == 4
    assert [line for line in said.out.splitlines() if "a pod was lost" in line] == [
        f"a pod was lost; run adder resumed, {count} of 2 times: {server.url}/#/runs/details/{run['run_id']}"
        for count, run in enumerate(list(server.cluster.runs.values())[2:], 1)
    ]
    assert said.out.count("iteration 1:") == 1
    assert said.out.count("reward has failed in Kubeflow; the run fails once the others have ended, or miss it") == 3


@pytest.mark.parametrize("how", ["bad input", "refused by prepare", "cancelled"])
def test_what_would_fail_again_is_not_resumed(
    rapid: Rapid, server: KfpServer, started: Callable[..., tuple[str, FakeRun]], how: str
) -> None:
    run_id, fake = started()
    create = server.cluster.create_run

    def fail(run_id: str) -> None:
        if how == "bad input":
            report_failure(fake.run, "reward", "no such grader")
        if how == "refused by prepare":
            server.cluster.stage(run_id, "prepare", "FAILED")
        if how == "cancelled":
            server.cluster.terminate_run(run_id)
        else:
            server.cluster.end(run_id, "FAILED")

    def create_and_fail(body):
        run = create(body)
        server.cluster.scripts[run["run_id"]] = [lambda: fail(run["run_id"])]
        return run

    server.cluster.create_run = create_and_fail  # type: ignore[method-assign]
    server.cluster.end(run_id, "FAILED")
    said = rapid("resume", "adder", "--watch", "--resume", "3")
    assert said.status == (3 if how == "cancelled" else 1)
    assert len(server.cluster.runs) == 2
    assert "a pod was lost" not in said.out


def test_who_does_not_watch_cannot_go_on_by_itself(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    said = rapid("submit", config, "--cluster", small, "--resume", "3")
    assert (said.status, "--resume goes with --watch" in said.error) == (2, True)
    assert not server.cluster.runs


def test_a_worker_that_is_not_heard_of_is_named(
    rapid: Rapid,
    server: KfpServer,
    started: Callable[..., tuple[str, FakeRun]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id, fake = started()
    for name, seconds in {"_LOOK_SECONDS": 0.0, "_FIRST_SECONDS": 1.0}.items():
        monkeypatch.setattr(f"pipelines.cluster.silent_workers.{name}", seconds)
    layout = fake.run.layout

    def beat(worker: str, count: int, state: State) -> None:
        text = Beat(attempt=1, count=count, state=state, detail="", started=START).model_dump_json()
        fake.run.store.write(f"{worker}/heartbeat.json", text.encode())

    def alive(number: int) -> Callable[[], None]:
        def beats() -> None:
            for shard in (0, 1):
                beat(layout.worker("rollout", shard), number, "working")
                beat(layout.worker("reward", shard), number, "waiting")

        return beats

    server.cluster.scripts[run_id] = [
        lambda: server.cluster.begin(run_id),
        *(alive(number) for number in range(1, 40)),
        lambda: beat(layout.worker("train"), 1, "starting"),
        lambda: None,
        lambda: server.cluster.end(run_id, "SUCCEEDED"),
    ]
    lines = [line for line in rapid("status", "adder", "--watch").out.splitlines() if line.startswith("train ")]
    assert lines[0] == "train has not started for 0 min: its pod may be waiting for a GPU"
    assert lines[-1] == "train is heard of again: starting"
    assert not [line for line in lines if "silent" in line]


def test_a_run_that_failed_before_any_task(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    rapid("submit", config, "--cluster", small)
    (run_id,) = server.cluster.runs
    server.cluster.scripts[run_id] = [
        lambda: None,
        lambda: (server.cluster.failed_driver(run_id), server.cluster.end(run_id, "FAILED")),
    ]
    said = rapid("status", "adder", "--watch")
    assert said.status == 1
    assert said.err.splitlines()[0] == (
        "error: the driver of the run failed: drivers fail where the run's service account does not exist, where a "
        "parameter is invalid, or where Kubeflow's own storage is away"
    )
    assert not undocumented(said.err.splitlines()[0], PAGE)


def test_a_pod_that_does_not_start_is_named_once_with_what_it_requests(
    rapid: Rapid, server: KfpServer, started: Callable[..., tuple[str, FakeRun]]
) -> None:
    """The fake's clock shows January 2026, so all that waits has waited for long."""
    run_id, _ = started()
    server.cluster.scripts[run_id] = [
        lambda: server.cluster.begin(run_id),
        lambda: server.cluster.stage(run_id, "train", "PENDING"),
        lambda: None,
        lambda: (server.cluster.stage(run_id, "train", "RUNNING"), server.cluster.stage(run_id, "publish", "DRIVER")),
        lambda: server.cluster.end(run_id, "SUCCEEDED"),
    ]
    lines = rapid("status", "adder", "--watch").out.splitlines()
    waiting = [line for line in lines if "waiting for its pod" in line]
    assert [line.split(" has been")[0] for line in waiting] == ["train", "the driver of publish"]
    assert re.search(r"\d+ min, which requests \S+ cores?, \S+ of memory", waiting[0])
    assert not undocumented(waiting[0], PAGE)
    assert waiting[0].endswith(f"; why: kubectl describe pods -n kubeflow -l pipeline/runid={run_id}")


def test_a_pod_that_does_not_start_is_named_by_who_looks_once(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, moto: str
) -> None:
    rapid("submit", config, f"store={moto}/fine-tunes", "--cluster", small)
    (run_id,) = server.cluster.runs
    server.cluster.begin(run_id)
    server.cluster.stage(run_id, "rollout", "PENDING", 1, shard=0)
    for name in ("adder", run_id):
        lines = [line for line in rapid("status", name).out.splitlines() if "waiting for its pod" in line]
        assert [line.split(" has been")[0] for line in lines] == ["iteration 1, rollout"]
    # Its pod ends with the run, and nobody needs to know why it did not start.
    server.cluster.terminate_run(run_id)
    assert "waiting for its pod" not in rapid("status", run_id).out


def test_a_cancelled_run_has_a_status_of_its_own(
    rapid: Rapid, server: KfpServer, started: Callable[..., tuple[str, FakeRun]]
) -> None:
    run_id, _ = started()
    server.cluster.scripts[run_id] = [
        lambda: server.cluster.begin(run_id),
        lambda: server.cluster.stage(run_id, "train", "RUNNING"),
        lambda: server.cluster.terminate_run(run_id),
    ]
    said = rapid("status", "adder", "--watch")
    assert said.status == 3
    assert [run["state"] for run in server.cluster.runs.values()] == ["FAILED"]
    assert "failed" not in said.out + said.err
    assert rapid("runs").out.splitlines()[1].split()[:2] == ["adder", "cancelled"]
    assert "being cancelled in Kubeflow" in said.out
    assert "continue with: rapid resume adder" in said.out


def test_without_the_store_kubeflows_tasks_have_to_do(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    cluster = server.cluster

    rapid("submit", config, "--cluster", small)
    (run_id,) = cluster.runs
    cluster.scripts[run_id] = [
        lambda: None,
        lambda: cluster.begin(run_id),
        lambda: cluster.stage(run_id, "prepare", "SUCCEEDED"),
        lambda: cluster.stage(run_id, "rollout", "RUNNING", 1, shard=0),
        lambda: cluster.stage(run_id, "rollout", "RUNNING", 1, shard=1),
        lambda: cluster.stage(run_id, "rollout", "SUCCEEDED", 1, shard=0),
        lambda: cluster.stage(run_id, "rollout", "RUNNING", 2, shard=1),
        # Its pod is deleted and made again: nothing has failed.
        lambda: cluster.stage(run_id, "rollout", "VANISHED", 2, shard=1),
        lambda: cluster.stage(run_id, "publish", "SUCCEEDED"),
        lambda: cluster.end(run_id, "SUCCEEDED"),
    ]
    said = rapid("status", "adder", "--watch")
    assert said.status == 0, said.err
    assert said.out.count("cannot be read from this machine") == 1
    assert not undocumented("\n".join(said.out.splitlines()[:3]), PAGE)
    told = [line for line in said.out.splitlines() if line.startswith(("prepare", "iteration", "publish"))]
    assert told == [
        "prepare: succeeded",
        "iteration 1, rollout: running",
        "iteration 1, rollout, shard 1: running",
        "iteration 1, rollout, shard 0: succeeded",
        "iteration 2, rollout, shard 1: running",
        "publish: succeeded",
        "iteration 1, rollout, shard 1: succeeded",
        "iteration 2, rollout, shard 1: succeeded",
    ]
    # Looked at once, also by its configuration, whose store is looked at first.
    for name in ("adder", config):
        said = rapid("status", name)
        assert (said.status, said.out.count("cannot be read from this machine")) == (0, 1), said.err
        assert said.out.splitlines()[1:3] == ["prepare: succeeded", "iteration 1, rollout, shard 0: succeeded"]


def test_a_server_that_is_away_for_a_while_is_waited_for(
    rapid: Rapid, server: KfpServer, started: Callable[..., tuple[str, FakeRun]]
) -> None:
    run_id, _ = started()

    def go_away() -> None:
        server.faults.append(Fault(f"/runs/{run_id}", status=503, times=3))
        server.cluster.scripts[run_id] = [lambda: server.cluster.end(run_id, "SUCCEEDED")]

    server.cluster.scripts[run_id] = [lambda: None, go_away]
    said = rapid("status", "adder", "--watch")
    assert said.status == 0, said.err
    assert said.out.count("waiting for it") == 1


def test_credentials_that_expire_while_watching_leave_a_way_back(
    rapid: Rapid, server: KfpServer, started: Callable[..., tuple[str, FakeRun]]
) -> None:
    run_id, _ = started()
    server.cluster.scripts[run_id] = [
        lambda: None,
        lambda: server.faults.append(Fault(f"/runs/{run_id}", status=401, body=b'{"message": "expired"}')),
    ]
    said = rapid("status", "adder", "--watch")
    assert said.status == 2
    assert "401: expired" in said.error
    assert "run adder continues; follow it with: rapid status adder --watch" in said.err


def test_submit_watches_from_the_start(rapid: Rapid, server: KfpServer, config: Path, small: Path, moto: str) -> None:
    name = "watched"
    original = server.cluster.create_run

    def create_and_finish(body):
        run = original(body)
        server.cluster.scripts[run["run_id"]] = [lambda: server.cluster.end(run["run_id"], "SUCCEEDED")]
        return run

    server.cluster.create_run = create_and_finish  # type: ignore[method-assign]
    said = rapid("submit", config, f"store={moto}", f"run.name={name}", "--cluster", small, "--watch")
    assert said.status == 0, said.err
    assert "succeeded in Kubeflow" in said.out
    assert "nothing is committed yet" in said.out


def test_ctrl_c_leaves_the_run_and_says_how_to_come_back(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    rapid("submit", config, "--cluster", small)
    (run_id,) = server.cluster.runs
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli.entry", "status", "adder", "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # What a shell starts in the background ignores it, and so would this process, which is the terminal's.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not any(path.endswith(run_id) for _, path, _, _ in server.requests) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert "run adder continues; follow it with: rapid status adder --watch (cancel it with: rapid cancel adder)" in out
    assert server.cluster.runs[run_id]["state"] == "PENDING"
    assert not any("terminate" in path for _, path, _, _ in server.requests)


def test_a_configuration_stands_for_the_run_that_it_names(
    rapid: Rapid, started: Callable[..., tuple[str, FakeRun]], config: Path, moto: str
) -> None:
    _, fake = started()
    fake.iteration(1)
    text = config.read_text().replace("s3://bucket/fine-tunes", f"{moto}/fine-tunes")
    config.write_text(text)
    assert f"1 of 2 iterations trained; {fake.run.uri}" in rapid("status", config).out


@pytest.mark.parametrize("width", [80, 120])
def test_runs_are_listed_in_narrow_terminals_and_found_by_what_is_shown(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rapid("submit", config, "--cluster", small)
    (first,) = server.cluster.runs.values()
    for number in range(9):
        name = f"run-{number}-{'with-a-name-as-long-as-any-' * number}end"
        settings = {"parameters": {**first["runtime_config"]["parameters"], "run": name}}
        server.cluster.create_run({**first, "display_name": name, "runtime_config": settings})
    text = rapid("runs").out
    assert all(f"run-{number}-" in text for number in range(9))
    lines = text.splitlines()
    for run_id in server.cluster.runs:
        (line,) = [line for line in lines if run_id[:8] in line]
        assert re.search(r"^\S+ +pending +2026-\S+ \S+ +- +[0-9a-f]{8}$", line)
    assert max(map(len, lines)) <= width
    assert max(map(len, lines)) <= width
    assert rapid("cancel", first["run_id"][:8]).status == 0
