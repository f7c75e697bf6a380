"""Against a real `mlflow server`, which is stricter than a database."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.results import read_run
from components.tracking import read_state, register, server, sync
from tests.support.fake_run import finished_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server_uri(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database, "--artifacts-destination", f"{folder}/files"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not _healthy(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_run_through_a_server_whose_uri_holds_a_password(
    server_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server_uri.replace("://", "://user:secret@"))
    run = finished_run(tmp_path).run
    assert sync(run) is True
    registration = register(run, read_run(run), 2)
    assert registration is not None
    assert registration.champion
    again = register(run, read_run(run), 2)
    assert again is not None
    assert again.version == registration.version

    client = server.connect(server_uri)
    state = read_state(run)
    assert state is not None
    assert state.uri == server_uri
    assert len(client.get_metric_history(state.run_id, "step/loss")) == 8
    first, version = sorted(client.search_model_versions("name = 'demo'"), key=lambda v: int(v.version))
    assert first.tags["rapid.policy_version"] == "1"
    model = client.get_logged_model(version.tags["rapid.logged_model"])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "demo", "version": "2"}]
    assert {metric.dataset_name for metric in model.metrics} == {"held-out prompts"}
    # The server refuses paths of a file system, so the source is an artifact that names the policy.
    policy = run.store.locate(run.layout.policy(2))
    assert version.tags["rapid.policy_uri"] == policy
    pointer = client.download_artifacts(state.run_id, "policies/0002/policy.json")
    assert json.loads(Path(pointer).read_text()) == {"policy_uri": policy}
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes()


def test_a_policy_in_s3_is_its_own_source(server_uri: str, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server_uri)
    run = finished_run(moto, name="in-s3", iterations=1).run
    registration = register(run, read_run(run), 1)
    assert registration is not None
    version = server.connect(server_uri).get_model_version("in-s3", registration.version)
    assert version.source == f"{moto}/runs/in-s3/iterations/0001/train/policy"
