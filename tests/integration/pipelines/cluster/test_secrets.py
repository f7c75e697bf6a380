"""Planted credentials are found nowhere but where they belong: in the headers of requests to their own server."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from components.results import read_run
from components.tracking import register, sync
from components.tracking.server import connect
from tests.support.fake_run import finished_run
from tests.support.kfp_server import KfpServer

Rapid = Callable[..., "Said"]  # noqa: F821 - of conftest

PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED0000001",
    "AWS_SECRET_ACCESS_KEY": "planted-s3-secret",
    "AWS_SESSION_TOKEN": "planted-s3-session",
    "HF_TOKEN": "hf_plantedtoken",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "RAPID_KFP_TOKEN": "planted-kfp-token",
    "RAPID_KFP_COOKIES": "authservice_session=planted-cookie",
    "KF_PIPELINES_APP_OAUTH2_CLIENT_SECRET": "planted-oauth-secret",
}
IN_URI = "planted-password-in-uri"
SECRETS = [*(value.rpartition("=")[2] for value in PLANTED.values()), IN_URI]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{IN_URI}@127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")


def leaks(text: str | bytes) -> list[str]:
    held = text if isinstance(text, str) else text.decode(errors="replace")
    return [secret for secret in SECRETS if secret in held]


def everything_kept(server: KfpServer) -> str:
    """Paths and bodies of all requests, and the state that came of them."""
    sent = [path + body.decode(errors="replace") for _, path, _, body in server.requests]
    cluster = server.cluster
    kept = [cluster.pipelines, cluster.versions, cluster.experiments, cluster.runs, cluster.recurring]
    return "\n".join([*sent, *map(repr, kept)])


@pytest.mark.usefixtures("planted")
def test_what_is_sent_and_shown_holds_none(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, tmp_path: Path
) -> None:
    server.token, server.cookie = PLANTED["RAPID_KFP_TOKEN"], PLANTED["RAPID_KFP_COOKIES"]
    compiled = tmp_path / "rapid.yaml"
    shown = [
        rapid("compile", "-o", compiled, "--cluster", small),
        rapid("submit", config, "--cluster", small),
        rapid("schedule", config, "--cluster", small, "--every", "1d"),
        rapid("schedules"),
        rapid("runs"),
        rapid("status", "adder"),
        rapid("cancel", "adder"),
        rapid("submit", config, "--endpoint", "http://127.0.0.1:9", "--cluster", small),
    ]
    server.token = "another"
    shown.append(rapid("runs"))
    assert [said.status for said in shown] == [0, 0, 0, 0, 0, 0, 0, 1, 2]
    assert leaks("".join(said.out + said.err for said in shown)) == []
    assert leaks(everything_kept(server)) == []
    assert leaks(compiled.read_bytes()) == []
    # They did reach the server that they are for, so there was something to leak.
    headers = server.requests[0][2]
    assert headers["Authorization"].endswith(PLANTED["RAPID_KFP_TOKEN"])
    assert headers["Cookie"] == PLANTED["RAPID_KFP_COOKIES"]
    assert leaks("\n".join(os.environ.values())) == SECRETS


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(
    "tree",
    [
        {"tracking": {"uri": f"http://me:{IN_URI}@mlflow:5000"}},
        {"reward": {"graders": [{"name": "judge", "options": {"api_key": IN_URI}}]}},
    ],
)
def test_a_configuration_with_a_credential_is_refused_without_quoting_it(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, tree: dict
) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **tree}))
    for said in (
        rapid("submit", config, "--cluster", small),
        rapid("schedule", config, "--every", "1d", "--cluster", small),
    ):
        assert said.status == 2
        assert leaks(said.out + said.err) == []
    assert not server.requests


@pytest.mark.usefixtures("planted")
def test_process_lists_hold_none(server: KfpServer, config: Path, small: Path, tmp_path: Path) -> None:
    """As `ps` shows them while a run is followed: the command itself, and whatever it starts."""
    server.token, server.cookie = PLANTED["RAPID_KFP_TOKEN"], PLANTED["RAPID_KFP_COOKIES"]
    command = [sys.executable, "-m", "pipelines.cli.main", "submit", str(config), "--cluster", str(small), "--watch"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    seen = []
    try:
        deadline = time.monotonic() + 90
        while not server.cluster.runs and process.poll() is None and time.monotonic() < deadline:
            seen += [p.cmdline() for p in _family(process.pid)]
            time.sleep(0.02)
        (run_id,) = server.cluster.runs
        server.cluster.end(run_id, "SUCCEEDED")
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert seen
    assert leaks(repr(seen)) == []
    assert leaks(log.read_text()) == []


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def test_mlflow_receives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    database = tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    connect(f"sqlite:///{database}")
    run = finished_run(tmp_path / "store", "demo").run
    assert register(run, read_run(run), 2)
    assert sync(run)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert database in kept
    assert {path for path in kept if leaks(path.read_bytes())} == set()
