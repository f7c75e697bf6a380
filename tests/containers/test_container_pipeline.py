"""The compiled pipeline as containers: KFP's DockerRunner, a real Docker daemon, a real S3 server, an MLflow server."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.contract.layout import Round, RunLayout, manifest_key
from components.contract.resolve import config_json, load_config
from components.results import best_policy, read_run
from components.store import Run, open_run, open_store
from components.store.attempt_logs import read_logs
from pipelines.cluster.cluster_config import STAGES, OneMachine
from pipelines.cluster.cluster_sections import Backoff, Device, Layout
from pipelines.compilation import compile_pipeline
from tests.support.arithmetic_run import trajectories, write_config

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

IMAGES = "rapid-rl:test"
RunPipeline = Callable[..., str]


@pytest.fixture
def cpu(image: Callable[[str], str]) -> str:
    return image("cpu")


@pytest.fixture(scope="module")
def tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server, which the containers reach over HTTP as they do on a cluster."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 180
    while not _answers(f"http://127.0.0.1:{port}/health"):
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(autouse=True)
def kept_containers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keeps containers until the test is over.

    DockerRunner has each removed as soon as it ends, and takes one that is gone before it asks for a success.
    """
    from docker.models.containers import ContainerCollection

    start = ContainerCollection.run
    started = []

    def run(self, *words, **settings):
        started.append(start(self, *words, **settings | {"auto_remove": False}))
        return started[-1]

    monkeypatch.setattr(ContainerCollection, "run", run)
    yield
    for container in started:
        container.remove(force=True)


@pytest.fixture
def run_pipeline(rgw: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[RunPipeline]:
    """`run_pipeline("cpu", config)` executes the pipeline as compiled for a device and returns what was printed.

    In layout tasks, unless another is named.

    Raises RuntimeError if a task fails; what was printed is in its first argument.
    """
    import docker
    from kfp import components, local

    before = os.umask(0)  # KFP makes folders as this user, in which another one writes
    tmp_path.chmod(0o755)
    outputs = tmp_path / "outputs"
    outputs.mkdir()

    def run(device: Device, config: Path, environment: dict[str, str] | None = None, layout: Layout = "tasks") -> str:
        for file in filter(Path.is_file, tmp_path.rglob("*")):
            file.chmod(0o644)  # safetensors keeps its files to their owner
        resolved = load_config(str(config), [f"store={rgw}/fine-tunes"])
        pipeline = tmp_path / "pipeline.yaml"
        cluster = OneMachine(
            layout=layout,
            device=device,
            images=IMAGES,
            max_iterations=max(1, resolved.loop.iterations),
            parallel_shards=1 if layout == "tasks" else 0,
            cache=None,
            backoff=Backoff(seconds=1, max_seconds=1),
            pod_retries=0,
            **{pod: {"retries": 1} for pod in (*STAGES, "pod")},
        )
        compile_pipeline(cluster).write(pipeline)
        local.init(
            runner=local.DockerRunner(
                network_mode="host",
                environment=_environment() | (environment or {}),
                mounts=[docker.types.Mount(str(tmp_path), str(tmp_path), type="bind", read_only=True)],
                read_only=True,
                tmpfs={"/tmp": ""},
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
            ),
            pipeline_root=str(outputs),
            raise_on_error=True,
        )
        try:
            components.load_component_from_file(str(pipeline))(config=config_json(resolved))
        except RuntimeError as error:
            raise RuntimeError(capfd.readouterr().out + str(error)) from None
        return capfd.readouterr().out

    yield run
    os.umask(before)


def _environment() -> dict[str, str]:
    aws = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    return aws | {name: os.environ[name] for name in ("MLFLOW_TRACKING_URI",) if name in os.environ}


def assert_complete(run: Run, iterations: int, shards: int) -> None:
    results = read_run(run)
    assert results.policy_version == iterations
    assert list(results.evaluated) == list(range(iterations + 1))
    for number, iteration in enumerate(results.iterations, 1):
        assert iteration.train is not None
        assert iteration.train.logprob_gap_max is not None
        assert iteration.train.logprob_gap_max < 1e-4
        assert len(iteration.train.steps) == 4
        for shard in range(shards):
            assert trajectories(run, Round.iteration(number), shard)
    assert b"<!DOCTYPE html>" in run.directory(run.layout.report).read("index.html")


def test_a_run_in_the_cpu_image_is_complete_tracked_and_leaks_nothing(
    cpu, run_pipeline, tmp_path, rgw, tracking_server, monkeypatch
):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_server)
    output = run_pipeline("cpu", write_config(tmp_path), layout="pod")
    assert set(re.findall(r"Found image '(\S+)'", output)) == {cpu}
    run = open_run(f"{rgw}/fine-tunes/runs/small")
    assert_complete(run, iterations=2, shards=1)

    client = MlflowClient(tracking_server)
    assert len(client.search_model_versions("name = 'small'")) == 2
    champion = client.get_model_version_by_alias("small", "champion")
    assert champion.tags["rapid.policy_version"] == str(best_policy(run, read_run(run)))

    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    assert secret not in output
    assert secret not in (tmp_path / "pipeline.yaml").read_text(encoding="utf-8")
    for info in run.store.list(run.layout.root):
        assert secret.encode() not in run.store.read(info.key), info.key
    # The same again finds everything done.
    before = sizes(run)
    run_pipeline("cpu", write_config(tmp_path), layout="pod")
    assert sizes(run) == before


def sizes(run: Run) -> dict[str, int]:
    """Return the sizes of a run's objects but for the logs."""
    return {info.key: info.size for info in run.store.list(run.layout.root) if "/log/" not in info.key}


@pytest.mark.usefixtures("cpu")
def test_a_worker_killed_in_its_container_goes_on_by_itself(daemon, run_pipeline, tmp_path, rgw):
    store, layout, round_ = open_store(f"{rgw}/fine-tunes"), RunLayout("killed"), Round.iteration(1)
    outputs = {"rollout": layout.rollout(round_, 0), "reward": layout.reward(round_, 0), "train": layout.train(1)}

    def kill(stage: str) -> None:
        while not store.list(outputs[stage]):
            time.sleep(0.1)
        (container,) = daemon.containers.list()
        processes = container.top(ps_args="-eo pid,args")["Processes"]
        (pid,) = [int(pid) for pid, command in processes if f"-m components.{stage} " in command]
        os.kill(pid, signal.SIGKILL)

    config = write_config(tmp_path, run={"name": "killed", "seed": 3}, tracking={"enabled": False})
    with ThreadPoolExecutor() as pool:
        kills = [pool.submit(kill, stage) for stage in outputs]
        run_pipeline("cpu", config, layout="pod")
        for kill_ in kills:
            kill_.result(timeout=10)
    assert_complete(open_run(f"{rgw}/fine-tunes/runs/killed"), iterations=2, shards=1)
    ends = {(log.record.stage, log.record.attempt): log.record.outcome for log in read_logs(store, layout)}
    for stage in outputs:
        assert (ends[stage, 1], ends[stage, 2]) == ("crashed", "succeeded")


def test_every_stage_runs_in_its_own_image(image, run_pipeline, tmp_path, rgw, tracking_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_server)
    config = write_config(tmp_path, run={"name": "apart", "seed": 3}, loop={"iterations": 1}, rollout={"shards": 2})
    images = {image(name) for name in ("base", "rollout", "reward", "train")}
    output = run_pipeline("gpu", config)
    assert set(re.findall(r"Found image '(\S+)'", output)) == images
    assert_complete(open_run(f"{rgw}/fine-tunes/runs/apart"), iterations=1, shards=2)


@pytest.mark.usefixtures("cpu")
def test_a_first_stage_that_fails_is_reported_with_what_it_said(run_pipeline, tmp_path, rgw):
    config = write_config(tmp_path, data={"train": str(tmp_path / "nowhere.jsonl")}, tracking={"enabled": False})
    with pytest.raises(RuntimeError, match=r"prepare.*finished with status.*FAILURE") as failed:
        run_pipeline("cpu", config)
    assert "nowhere.jsonl" in str(failed.value)
    assert "Traceback" not in str(failed.value)
    (log,) = read_logs(open_store(f"{rgw}/fine-tunes"), RunLayout("small"))
    assert (log.record.stage, log.record.outcome) == ("prepare", "failed")
    assert "nowhere.jsonl" in log.record.reason


@pytest.mark.usefixtures("cpu")
def test_refused_credentials_are_reported(run_pipeline, tmp_path):
    config = write_config(tmp_path, tracking={"enabled": False})
    with pytest.raises(RuntimeError, match=r"prepare.*finished with status.*FAILURE") as failed:
        run_pipeline("cpu", config, {"AWS_SECRET_ACCESS_KEY": "not-the-one"})
    assert "check AWS_ACCESS_KEY_ID" in str(failed.value)
    assert "not-the-one" not in str(failed.value)


@pytest.mark.usefixtures("cpu")
def test_a_stage_that_fails_in_the_middle_keeps_what_was_done_and_stops_the_rest(run_pipeline, tmp_path, rgw):
    config = write_config(
        tmp_path, tracking={"enabled": False}, loop={"iterations": 1}, reward={"graders": [{"name": "absent_module:f"}]}
    )
    with pytest.raises(RuntimeError, match=r"reward.*finished with status.*FAILURE") as failed:
        run_pipeline("cpu", config)
    assert "absent_module" in str(failed.value)
    run = open_run(f"{rgw}/fine-tunes/runs/small")
    round_ = Round.iteration(1)
    assert run.store.exists(manifest_key(run.layout.rollout(round_, 0)))
    assert not run.store.exists(manifest_key(run.layout.reward(round_, 0)))
    assert not run.store.exists(manifest_key(run.layout.train(1)))
