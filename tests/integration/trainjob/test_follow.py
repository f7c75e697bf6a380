"""One training job for every iteration of a run."""

import os
import time

import pytest

from components.contract.errors import InputError
from components.contract.manifest import now
from components.runtime.failure import report_failure
from components.runtime.heartbeat import Beat, State
from components.runtime.processes import PARENT_VARIABLE
from components.trainjob import run_watch
from components.trainjob.stage import follow_run
from tests.support.kubernetes_objects import Kubernetes
from tests.support.kubernetes_server import Server
from tests.support.training_job import SETTINGS, Acting, Ready


@pytest.fixture
def whole(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> Ready:
    """A run of one iteration, whose launcher looks often."""
    monkeypatch.setattr(run_watch, "_LOOK_SECONDS", 0.02)
    return ready.changed("loop", iterations=1)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> int:
    """The parent's end of the pipe on which the launcher reports."""
    ours, its = os.pipe()
    os.set_blocking(ours, False)
    monkeypatch.setenv(PARENT_VARIABLE, str(its))
    return ours


def beat(whole: Ready, state: State, detail: str = "iteration 0001 train") -> None:
    text = Beat(attempt=1, count=1, state=state, detail=detail, started=now()).model_dump_json()
    whole.run.store.write(f"{whole.run.layout.worker('train')}/heartbeat.json", text.encode())


def deleted(state: Kubernetes, name: str) -> None:
    """Wait until the launcher has deleted the job."""
    deadline = time.monotonic() + 20
    while name not in state.deleted:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_without_a_deadline_follows_the_run(whole: Ready, server: Server, acting: Acting, parent: int) -> None:
    def train(state: Kubernetes) -> None:
        name = state.wait_for_job(1)
        pod = state.run_pod(name, 0)
        for step in ("working", "waiting"):
            beat(whole, step)  # type: ignore[arg-type]
            time.sleep(0.3)
        whole.commit()
        state.end_pod(pod)
        state.complete(name)

    settings = SETTINGS.model_copy(update={"deadline_seconds": 3600})
    with acting(train):
        assert follow_run(whole.run.uri, settings) == 1
    (job,) = server.state.created
    assert job["metadata"]["name"].startswith("rapid-demo-train-")
    assert job["spec"]["trainer"]["args"] == ["--nproc-per-node=4", "-m", "components.train", whole.run.uri, "--follow"]
    assert "activeDeadlineSeconds" not in job["spec"]
    assert {"name": "RAPID_TRACKING", "value": "off"} in job["spec"]["trainer"]["env"]
    assert os.read(parent, 4096).split() == [b"waiting", b"committed"]
    # Everything is trained: no second job.
    assert follow_run(whole.run.uri, settings) == 1
    assert len(server.state.created) == 1


def test_a_worker_that_fails_elsewhere_ends_the_job(whole: Ready, server: Server, acting: Acting) -> None:
    def fail(state: Kubernetes) -> None:
        name = state.wait_for_job(1)
        report_failure(whole.run, "rollout", "no room on the GPU")
        deleted(state, name)

    with acting(fail), pytest.raises(InputError, match="rollout: no room on the GPU"):
        follow_run(whole.run.uri, SETTINGS)
    assert len(server.state.deleted) == 1


def test_a_job_that_hangs_in_an_iteration_is_deleted_and_the_launcher_fails(
    whole: Ready, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    def hang(state: Kubernetes) -> None:
        name = state.wait_for_job(1)
        beat(whole, "working")
        deleted(state, name)

    with acting(hang), pytest.raises(SystemExit) as ended:
        follow_run(whole.run.uri, SETTINGS.model_copy(update={"deadline_seconds": 1}))
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert "has worked on iteration 0001 train for 0.0167 min and is deleted" in err
    assert "was deleted before its policy was committed" in err
