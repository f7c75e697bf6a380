"""The job of a launcher that receives SIGTERM."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.store import RunCancelled
from components.store.cancellation import cancel
from components.trainjob import launcher, run_watch
from components.trainjob.kubernetes_api import Cluster
from components.trainjob.stage import run_stage
from components.trainjob.standby import Standby
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
    # There is no time to ask for anything: only the launcher's start has looked at its pod.
    assert sum(request[:2] == ("get", "pods") for request in server.requests) == 1
    assert sum(request[:2] == ("delete", "trainjobs") for request in server.requests) == 1


@pytest.fixture
def standby(monkeypatch: pytest.MonkeyPatch) -> list[Standby]:
    """The launcher's, once there is one."""
    made: list[Standby] = []
    monkeypatch.setattr(launcher, "Standby", lambda name: made.append(Standby(name)) or made[-1])
    return made


def test_a_launcher_whose_node_is_drained_leaves_the_job_to_its_next_start(
    ready: Ready, server: Server, acting: Acting, standby: list[Standby], capsys: pytest.CaptureFixture[str]
) -> None:
    def drain(state: Kubernetes) -> None:
        server.wait_for("watch", "pods")
        state.mark_disrupted(POD)
        deadline = time.monotonic() + 20
        while not standby[0]._is_disrupted:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        send_signal(signal.SIGTERM, server, state)

    with acting(drain), pytest.raises(SystemExit) as ended:
        run_stage(ready.run.uri, 1, SETTINGS)
    assert ended.value.code == 143
    assert not server.state.deleted
    assert f"TrainJob {ready.job} goes on for 100 s, and the next start follows it" in capsys.readouterr().err

    def finish(state: Kubernetes) -> None:
        server.wait_for("list", "pods", times=sum(r[:2] == ("list", "pods") for r in server.requests) + 1)
        ready.train(state)

    with acting(finish):
        assert run_stage(ready.run.uri, 1, SETTINGS).facts["outcome"] == "trained"
    assert len(server.state.created) == 1


def test_a_launcher_that_cannot_see_its_own_pod_counts_as_cancelled(
    ready: Ready, server: Server, acting: Acting
) -> None:
    server.faults = [Fault("get", "pods", 403), Fault("watch", "pods", 403)]
    with acting(lambda state: send_signal(signal.SIGTERM, server, state)), pytest.raises(SystemExit):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert server.state.deleted == [ready.job]


def test_outside_of_a_pod_the_job_is_taken_along(
    ready: Ready, server: Server, acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KFP_POD_NAME")
    monkeypatch.delenv("HOSTNAME", raising=False)
    with acting(lambda state: send_signal(signal.SIGTERM, server, state)), pytest.raises(SystemExit):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert server.state.deleted == [ready.job]
    assert not {("get", "pods"), ("watch", "pods")} & {request[:2] for request in server.requests}
    assert "ownerReferences" not in server.state.created[0]["metadata"]


def test_what_a_launcher_leaves_behind_goes_with_the_workflow(ready: Ready, server: Server, acting: Acting) -> None:
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "rapid-xk2lp", "uid": "w"}
    server.state.pods[POD]["metadata"]["ownerReferences"] = [{**owner, "controller": True, "blockOwnerDeletion": True}]
    with acting(ready.train):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert server.state.created[0]["metadata"]["ownerReferences"] == [owner]


def test_a_launcher_whose_run_is_marked_as_cancelled_takes_the_job_along(
    ready: Ready, server: Server, acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_watch, "_LOOK_SECONDS", 0.02)

    def mark(state: Kubernetes) -> None:
        state.run_pod(state.wait_for_job())
        cancel(ready.run.store, ready.run.layout)

    with acting(mark), pytest.raises(RunCancelled):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert server.state.deleted == [ready.job]
    with pytest.raises(RunCancelled):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert len(server.state.created) == 1


def test_where_kubernetes_does_not_let_the_job_go_that_is_said_at_once(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = [Fault("delete", "trainjobs", 503)]
    with acting(lambda state: send_signal(signal.SIGTERM, server, state)), pytest.raises(SystemExit) as ended:
        run_stage(ready.run.uri, 1, SETTINGS)
    assert ended.value.code == 143
    assert f"TrainJob {ready.job} ends by itself within two minutes" in capsys.readouterr().err
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


def test_ctrl_c_leaves_the_job_running_for_a_while(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    with acting(lambda state: send_signal(signal.SIGINT, server, state)), pytest.raises(KeyboardInterrupt):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert not server.state.deleted
    assert f"kubectl delete trainjob {ready.job} ends it at once" in capsys.readouterr().err


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
    assert line == f"error: {message}" if message else f"TrainJob {job} failed: ReachedMaxRestarts" in line
    assert "Traceback" not in said
