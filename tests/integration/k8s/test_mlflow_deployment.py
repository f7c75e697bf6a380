"""MLflow started as its deployment starts it: the locked version takes these arguments, and does what they say."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from tests.support.manifests import one, pods, rendered

pytestmark = pytest.mark.slow
_PATIENCE = 240


@pytest.fixture(scope="module")
def server(moto_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address. SQLite stands for PostgreSQL, after the same upgrade of the schema; S3 is in this process."""
    home = tmp_path_factory.mktemp("home")
    pod = next(pods([one(rendered("gpu"), "Deployment", "rapid-mlflow")]))
    schema, container = pod.containers
    session = boto3.session.Session("testing", "testing-secret", region_name="us-east-1")
    session.client("s3", endpoint_url=moto_server["AWS_ENDPOINT_URL"]).create_bucket(Bucket="rapid-mlflow-test")

    database = f"sqlite:///{home}/mlflow.db"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
    given = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    environment = inherited | given | moto_server | {"HOME": str(home), "MLFLOW_BACKEND_STORE_URI": database}
    (upgrade,) = (word for word in schema["command"] if "://" in word)
    mlflow, *command = [database if word == upgrade else word for word in schema["command"]]
    assert mlflow == "mlflow"
    subprocess.run([sys.executable, "-m", "mlflow", *command], env=environment, cwd=home, check=True)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert container["command"] == ["mlflow", "server"]
    arguments = [
        word.replace("$(RAPID_BUCKET)", "rapid-mlflow-test").replace("--port=5000", f"--port={port}")
        for word in container["args"]
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *arguments],
        env=environment,
        cwd=home,
        stdout=(home / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield _once_healthy(process, f"http://127.0.0.1:{port}", home / "log")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _once_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> str:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        if answer(url, "/health", "10.0.0.9:5000") == 200:  # a kubelet asks by the pod's address
            return url
        time.sleep(0.5)
    raise AssertionError(log.read_text())


def answer(url: str, path: str, host: str) -> int | None:
    """The status of a request that names `host`; None where nobody listens."""
    try:
        return urllib.request.urlopen(urllib.request.Request(url + path, headers={"Host": host}), timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("rapid-mlflow:5000", 200),
        ("rapid-mlflow.rapid:5000", 200),
        ("rapid-mlflow.kubeflow.svc.cluster.local:5000", 200),
        ("localhost:5000", 200),
        ("mlflow.attacker.example", 403),
    ],
)
def test_it_answers_to_the_names_of_its_service(server: str, host: str, status: int) -> None:
    assert answer(server, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default", host) == status


def test_artifacts_go_through_it_into_the_bucket(
    server: str, moto_server: dict[str, str], tmp_path: Path, aws_environment: Callable[[dict[str, str]], None]
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server)
    (tmp_path / "config.json").write_text("{}")
    experiment = client.create_experiment("through the server")
    run = client.create_run(experiment).info.run_id
    # Without credentials of any kind on this side.
    aws_environment({})
    client.log_artifact(run, str(tmp_path / "config.json"))
    session = boto3.session.Session("testing", "testing-secret", region_name="us-east-1")
    s3 = session.client("s3", endpoint_url=moto_server["AWS_ENDPOINT_URL"])
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="rapid-mlflow-test")["Contents"]]
    assert keys == [f"mlflow/{experiment}/{run}/artifacts/config.json"]
