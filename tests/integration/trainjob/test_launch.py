"""The launcher against a Kubernetes API: what it asks for, what it follows, how it reports."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp.dsl import Metrics

from components.contract.errors import InputError
from components.runtime.heartbeat import read_beat
from components.runtime.parent import Limits
from components.store import open_run
from components.store.cancellation import cancel, withdraw_cancellations
from components.trainjob import launcher
from components.trainjob.component import train_job
from components.trainjob.job_settings import JobSettings
from components.trainjob.stage import run_stage
from pipelines.cluster.silent_workers import activity
from tests.support.kubernetes_objects import Kubernetes
from tests.support.kubernetes_server import Server
from tests.support.training_job import SETTINGS, Acting, Ready


def test_a_job_is_launched_followed_and_cleared_away(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    with acting(ready.train):
        manifest = run_stage(ready.run.uri, 1, SETTINGS)
    assert manifest.facts["outcome"] == "trained"
    (job,) = server.state.created
    assert job["metadata"]["name"] == ready.job
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("train: 1/4 updates in 15 s") == 1
    assert lines.count("train: 4/4 updates in 60 s") == 1
    assert f"TrainJob {ready.job} is launched: 2 nodes of 4 processes" in lines
    assert server.state.deleted == [ready.job]


def test_what_the_job_asks_for(ready: Ready, server: Server, acting: Acting) -> None:
    settings = JobSettings(
        image="registry.example/rapid/train:1.0",
        resources={"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": 4},
        node_selector={"gpu": "h100"},
        tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
        cache_claim="rapid-cache",
        queue="rapid",
        deadline_seconds=3600,
    )
    with acting(ready.train):
        run_stage(ready.run.uri, 1, settings)
    (job,) = server.state.created
    assert job["metadata"]["labels"] == {
        "app.kubernetes.io/part-of": "rapid",
        "app.kubernetes.io/component": "train",
        "rapid-rl/run": "demo",
        "rapid-rl/task": ready.training(settings).digest,
        "kueue.x-k8s.io/queue-name": "rapid",
    }
    spec = job["spec"]
    assert spec["runtimeRef"] == {"name": "rapid-train", "kind": "TrainingRuntime"}
    assert spec["activeDeadlineSeconds"] == 3600
    trainer = spec["trainer"]
    assert trainer["image"] == "registry.example/rapid/train:1.0"
    assert trainer["numNodes"] == 2
    wanted = {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": 4}
    assert trainer["resourcesPerNode"] == {"limits": wanted, "requests": wanted}
    assert trainer["command"] == ["torchrun"]
    assert trainer["args"] == ["--nproc-per-node=4", "-m", "components.train", ready.run.uri, "--iteration", "1"]
    (patch,) = spec["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]
    assert node["name"] == "node"
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "train"
    assert pod["metadata"]["labels"]["rapid-rl/layout"] == "tasks"
    assert pod["spec"]["nodeSelector"] == {"gpu": "h100"}
    assert pod["spec"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["spec"]["volumes"] == [{"name": "cache", "persistentVolumeClaim": {"claimName": "rapid-cache"}}]
    assert pod["spec"]["containers"] == [{"name": "node", "volumeMounts": [{"name": "cache", "mountPath": "/cache"}]}]


def test_nothing_secret_is_in_the_job(
    ready: Ready, server: Server, acting: Acting, aws_environment: Callable[..., None]
) -> None:
    aws_environment({"AWS_ACCESS_KEY_ID": "planted-id", "AWS_SECRET_ACCESS_KEY": "planted-secret"})
    with acting(ready.train):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert "planted" not in str(server.state.created)


def test_what_is_committed_launches_nothing(ready: Ready, server: Server) -> None:
    done = ready.commit()
    assert run_stage(ready.run.uri, 1, SETTINGS) == done
    assert not server.requests


def test_a_run_that_has_reached_its_target_launches_nothing(ready: Ready, server: Server) -> None:
    ready.changed("loop", target_reward=0.0)
    manifest = run_stage(ready.run.uri, 1, SETTINGS)
    assert manifest.facts["outcome"] == "target_reached"
    assert not server.requests


def test_a_restarted_launcher_follows_the_job_that_runs(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    server.state.create(ready.old)

    def act(state: Kubernetes) -> None:
        server.wait_for("list", "pods")
        ready.train(state)

    with acting(act):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert len(server.state.created) == 1
    assert ("create", "trainjobs", "") not in server.requests
    assert f"TrainJob {ready.job} is already running; following it" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["settings", "configuration", "a cancelled start"])
def test_a_job_that_still_runs_with_other_settings_is_replaced(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """As where a launcher was killed too fast to take its job along, and the run was started again differently."""
    first = server.state.create(ready.old)
    settings = SETTINGS
    if what == "settings":
        settings = SETTINGS.model_copy(update={"node_selector": {"gpu": "h100"}})
    elif what == "configuration":
        ready = ready.changed("train", learning_rate=1e-5)
    else:
        cancel(ready.run.store, ready.run.layout)
        withdraw_cancellations(ready.run.store, ready.run.layout)
        ready = Ready(open_run(ready.run.uri))
    with acting(lambda state: ready.train(state, job=2)):
        assert run_stage(ready.run.uri, 1, settings).facts["outcome"] == "trained"
    assert server.state.deleted[0] == ready.job
    assert server.state.created[1]["metadata"]["uid"] != first["metadata"]["uid"]
    assert "has other inputs or settings and is replaced" in capsys.readouterr().err


def test_of_two_launchers_one_creates_and_both_follow(
    ready: Ready, server: Server, acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has seen no job and finds that there is one when it creates its own."""
    faster = launcher.submit

    def late(*arguments: object) -> bool:
        server.state.create(ready.old)
        return faster(*arguments)

    def act(state: Kubernetes) -> None:
        server.wait_for("list", "pods")
        ready.train(state)

    monkeypatch.setattr(launcher, "submit", late)
    with acting(act):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert len(server.state.created) == 1
    assert server.requests.count(("create", "trainjobs", "")) == 1


@pytest.mark.parametrize("end", ["fail", "complete"])
@pytest.mark.parametrize("lingers", [0.0, 0.3])
def test_a_job_that_left_no_policy_is_replaced(
    ready: Ready, server: Server, acting: Acting, end: str, lingers: float
) -> None:
    first = server.state.create(ready.old)
    getattr(server.state, end)(ready.job)
    server.state.lingers = lingers

    with acting(lambda state: ready.train(state, job=2)):
        assert run_stage(ready.run.uri, 1, SETTINGS).facts["outcome"] == "trained"
    assert server.state.deleted[0] == ready.job
    assert server.state.created[1]["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_failed_job_is_reported_with_its_reason_and_its_logs_and_cleared_away(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(state: Kubernetes) -> None:
        job = state.wait_for_job()
        first, second = state.run_pod(job, 0), state.run_pod(job, 1)
        state.say(first, "RuntimeError: [gloo] Connection closed by peer")
        state.say(second, "torch.OutOfMemoryError: CUDA out of memory")
        state.end_pod(second, 137, "OOMKilled")
        state.end_pod(first, 1, later=5)
        state.fail(job)

    with acting(act), pytest.raises(SystemExit) as ended:
        run_stage(ready.run.uri, 1, SETTINGS)
    assert ended.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert "RuntimeError: [gloo] Connection closed by peer" in lines
    assert "node 1: torch.OutOfMemoryError: CUDA out of memory" in lines
    assert lines[-1] == (
        f"error: TrainJob {ready.job} failed: ReachedMaxRestarts: jobset failed due to reaching max number of restarts "
        f"(first failed job: {ready.job}-node-0); node 1 ended first, OOMKilled (exit status 137)"
    )
    assert server.state.deleted == [ready.job]


def test_a_pod_that_is_deleted_is_named_with_its_node(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(state: Kubernetes) -> None:
        job = state.wait_for_job()
        pods = [state.run_pod(job, index) for index in range(2)]
        server.wait_for("get", "pods/log")
        state.delete_pod(pods[1], lingers=0.3)

    with acting(act), pytest.raises(SystemExit):
        run_stage(ready.run.uri, 1, SETTINGS)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"; the pod of node 1, {ready.job}-node-0-1-abcd0 on worker-1, was deleted")


def test_bad_input_that_the_stage_found_stays_bad_input(ready: Ready, acting: Acting) -> None:
    message = "iteration 1 has 5 groups, but train.updates.most 2 x train.mini_batch_prompts 3 need 6"

    def act(state: Kubernetes) -> None:
        job = state.wait_for_job()
        for index in (0, 1):
            state.end_pod(state.run_pod(job, index), 1, message=message if index else "")
        state.fail(job)

    with acting(act), pytest.raises(InputError) as refused:
        run_stage(ready.run.uri, 1, SETTINGS)
    assert str(refused.value) == message


def test_a_job_that_failed_after_its_policy_was_committed_has_done_its_work(
    ready: Ready, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(state: Kubernetes) -> None:
        job = state.wait_for_job()
        ready.commit()
        state.end_pod(state.run_pod(job), 1)
        state.fail(job)

    with acting(act):
        assert run_stage(ready.run.uri, 1, SETTINGS).facts["outcome"] == "trained"
    assert "after its policy was committed" in capsys.readouterr().err


def test_a_job_that_ends_well_without_a_policy_is_an_error(ready: Ready, server: Server, acting: Acting) -> None:
    with acting(lambda state: state.complete(state.wait_for_job())), pytest.raises(InputError, match="has no manifest"):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert server.state.deleted == [ready.job]


def test_a_job_that_somebody_deletes_is_an_error(
    ready: Ready, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    with acting(lambda state: state.delete(state.wait_for_job())), pytest.raises(SystemExit) as ended:
        run_stage(ready.run.uri, 1, SETTINGS)
    assert ended.value.code == 1
    assert f"error: TrainJob {ready.job} was deleted before its policy was committed" in capsys.readouterr().err


def test_what_a_job_waits_for_is_reported_as_often_as_it_changes(
    ready: Ready, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def until(text: str) -> None:
        deadline = time.monotonic() + 20
        while text not in "".join(said):
            assert time.monotonic() < deadline, f"nobody said {text}: {said}"
            time.sleep(0.01)
            said.append(capsys.readouterr().err)

    def act(state: Kubernetes) -> None:
        job = state.wait_for_job()
        until("waits for its pods")
        state.condition(job, "Suspended", "Suspended", "Trainjob is suspended")
        until("waits (Suspended: Trainjob is suspended)")
        state.condition(job, "Suspended", "Resumed", "Trainjob is resumed", status="False")
        pod = state.run_pod(job, 0, {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})
        until("node 0 of 1: ImagePullBackOff: no such image")
        deadline = time.monotonic() + 20
        while "ImagePullBackOff" not in activity(read_beat(ready.run.store, ready.run.layout.launcher)):
            assert time.monotonic() < deadline, "the heartbeat does not say it"
            time.sleep(0.01)
        state.pods[pod]["status"]["containerStatuses"][0]["state"] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        ready.train(state)

    with acting(act):
        run_stage(ready.run.uri, 1, SETTINGS)
    told = [line for line in "".join(said).splitlines() if "waits" in line or "ImagePull" in line]
    assert len(told) == len(set(told)) == 3


def test_a_pod_that_replaces_another_is_followed_from_its_start(
    ready: Ready, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when Kueue takes a job's nodes away and gives it others."""

    def act(state: Kubernetes) -> None:
        job = state.wait_for_job()
        first = state.run_pod(job)
        state.say(first, "before")
        state.end_pod(first, 143)
        del state.pods[first]
        second = state.run_pod(job, again=1)
        state.say(second, "after")
        ready.commit()
        state.end_pod(second)
        state.complete(job)

    with acting(act):
        run_stage(ready.run.uri, 1, SETTINGS)
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("after") == 1


def test_a_log_whose_connection_breaks_is_read_on_where_it_was_left(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(state: Kubernetes) -> None:
        job = state.wait_for_job()
        pod = state.run_pod(job)
        state.say(pod, "one", "<connection breaks here>")
        server.wait_for("get", "pods/log", times=2)
        state.say(pod, "two")
        ready.commit()
        state.end_pod(pod)
        state.complete(job)

    with acting(act):
        run_stage(ready.run.uri, 1, SETTINGS)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if line in ("one", "two", "<connection breaks here>")
    ]
    assert lines == ["one", "<connection breaks here>", "two"]


def test_a_job_on_one_node_is_launched_on_request(ready: Ready, server: Server, acting: Acting) -> None:
    one = ready.changed("train", nodes=1, processes=1)
    with acting(one.train):
        run_stage(one.run.uri, 1, SETTINGS)
    (job,) = server.state.created
    assert job["spec"]["trainer"]["numNodes"] == 1
    assert job["spec"]["trainer"]["args"][0] == "--nproc-per-node=1"


def test_the_pipeline_is_answered_as_by_the_stage_itself(
    ready: Ready, server: Server, acting: Acting, tmp_path: Path
) -> None:
    metrics = Metrics(uri=str(tmp_path / "metrics"))
    with acting(ready.train):
        remaining = train_job.python_func(
            run_uri=ready.run.uri,
            iteration=1,
            rewards=[],
            image="registry.example/rapid/train:1.0",
            cpu="8",
            memory="48Gi",
            accelerator="",
            accelerators="0",
            resources={"rdma/ib": "1"},
            node_selector={},
            tolerations=[],
            cache="",
            runtime="rapid-train",
            queue="",
            deadline_minutes=720,
            limits=Limits().model_dump_json(),
            metrics=metrics,
        )
    (job,) = server.state.created
    assert job["spec"]["trainer"]["resourcesPerNode"]["limits"] == {"cpu": "8", "memory": "48Gi", "rdma/ib": "1"}
    assert remaining == ready.run.config.loop.iterations - 1
    assert metrics.metadata["step"] == 4.0
    assert metrics.metadata["policy_version"] == 1.0
