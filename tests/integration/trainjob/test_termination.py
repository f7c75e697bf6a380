"""The job of a launcher that receives SIGTERM."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.trainjob.kubernetes_api import Cluster
from components.trainjob.stage import run_stage
from tests.support.kubernetes_objects import Kubernetes
from tests.support.kubernetes_server import Fault, Server
from tests.support.training_job import SETTINGS, Acting, Ready

POD = "rapid-xk2lp-system-container-impl-1234"


@pytest.fixture(autouse=True)
def _own_pod(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is the launcher in a pod of that name."""
    monkeypatch.setenv("KFP_POD_NAME", POD)
    server.state.pods[POD] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": "rapid", "labels": {}, "uid": "1"},
        "spec": {"containers": [{"name": "main"}]},
        "status": {
            "phase": "Running",
            "conditions": [],
            "containerStatuses": [
                {"name": "main", "state": {}, "ready": True, "restartCount": 0, "image": "", "imageID": ""}
            ],
        },
    }
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def send_signal(number: signal.Signals, server: Server, state: Kubernetes) -> None:
    job = state.wait_for_job()
    pod = state.run_pod(job)
    state.say(pod, "train: 1/4 updates in 15 s")
    server.wait_for("get", "pods/log")
    os.kill(os.getpid(), number)


def test_a_cancelled_run_takes_its_job_along(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    with acting(lambda state: send_signal(signal.SIGTERM, server, state)), pytest.raises(SystemExit) as ended:
        run_stage(ready.run.uri, 1, SETTINGS)
    assert ended.value.code == 143
    assert server.state.deleted == [ready.job]
    assert f"the run is cancelled: TrainJob {ready.job} is deleted" in capsys.readouterr().err


def test_a_launcher_whose_node_is_drained_leaves_the_job_to_its_next_start(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    server.state.pods[POD]["status"]["conditions"] = [
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
    ]
    with acting(lambda state: send_signal(signal.SIGTERM, server, state)), pytest.raises(SystemExit) as ended:
        run_stage(ready.run.uri, 1, SETTINGS)
    assert ended.value.code == 143
    assert not server.state.deleted
    assert f"TrainJob {ready.job} goes on, and is followed when the stage starts again" in capsys.readouterr().err

    def finish(state: Kubernetes) -> None:
        server.wait_for("list", "pods", times=sum(r[:2] == ("list", "pods") for r in server.requests) + 1)
        ready.train(state)

    with acting(finish):
        assert run_stage(ready.run.uri, 1, SETTINGS).facts["outcome"] == "trained"
    assert len(server.state.created) == 1


def test_a_launcher_that_cannot_see_its_own_pod_counts_as_cancelled(
    ready: Ready, server: Server, acting: Acting
) -> None:
    server.faults = [Fault("get", "pods", 403)]
    with acting(lambda state: send_signal(signal.SIGTERM, server, state)), pytest.raises(SystemExit):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert server.state.deleted == [ready.job]


def test_outside_of_a_pod_the_job_is_taken_along(
    ready: Ready, server: Server, acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KFP_POD_NAME")
    monkeypatch.delenv("HOSTNAME", raising=False)
    asked: list[object] = []
    monkeypatch.setattr(Cluster, "own_pod", lambda *words: asked.append(words))
    with acting(lambda state: send_signal(signal.SIGTERM, server, state)), pytest.raises(SystemExit):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert server.state.deleted == [ready.job]
    assert not asked


def test_where_kubernetes_does_not_let_the_job_go_that_is_said_at_once(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = [Fault("delete", "trainjobs", 503)]
    with acting(lambda state: send_signal(signal.SIGTERM, server, state)), pytest.raises(SystemExit) as ended:
        run_stage(ready.run.uri, 1, SETTINGS)
    assert ended.value.code == 143
    assert f"TrainJob {ready.job} may go on" in capsys.readouterr().err
    assert sum(request[:2] == ("delete", "trainjobs") for request in server.requests) == 1


def test_a_job_that_a_rival_has_replaced_meanwhile_is_not_taken_along(ready: Ready, server: Server) -> None:
    """Deletion names the very job that was followed."""
    server.state.create(ready.old)
    followed = Cluster().job(ready.job)
    assert followed is not None
    server.state.create(ready.old)
    Cluster().delete(followed)
    assert not server.state.deleted
    assert ready.job in server.state.jobs


def test_ctrl_c_leaves_the_job_running(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    with acting(lambda state: send_signal(signal.SIGINT, server, state)), pytest.raises(KeyboardInterrupt):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert not server.state.deleted
    assert f"kubectl delete trainjob {ready.job} ends it" in capsys.readouterr().err


def start(ready: Ready, tmp_path: Path) -> "subprocess.Popen[str]":
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(SETTINGS.model_dump(mode="json")), encoding="utf-8")
    words = ["-m", "components.trainjob", ready.run.uri, "--iteration", "1", "--settings", str(settings)]
    environment = {**os.environ, "RAPID_EVENTS": ""}
    return subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_the_command_line_deletes_the_job_on_sigterm(ready: Ready, server: Server, tmp_path: Path) -> None:
    process = start(ready, tmp_path)
    server.state.run_pod(server.state.wait_for_job(seconds=60))
    server.wait_for("get", "pods/log")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143, said
    assert server.state.deleted == [ready.job]
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(("message", "status"), [("the data is bad", 2), ("", 1)], ids=["bad input", "failure"])
def test_the_command_line_ends_as_the_stage_did(
    ready: Ready, server: Server, tmp_path: Path, message: str, status: int
) -> None:
    process = start(ready, tmp_path)
    job = server.state.wait_for_job(seconds=60)
    server.state.end_pod(server.state.run_pod(job), 1, message=message)
    server.state.fail(job)
    _, said = process.communicate(timeout=30)
    assert process.returncode == status, said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line == f"error: {message}" if message else f"TrainJob {job} failed: FailedJobs" in line
    assert "Traceback" not in said
