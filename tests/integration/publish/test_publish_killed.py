"""kill -9 at every point that matters, and the same command again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.contract.layout import manifest_key
from components.contract.manifest import Manifest
from components.store import Run
from components.tracking import read_state, server
from tests.support.fake_run import finished_run

pytestmark = pytest.mark.slow

# Python tells an audit hook of every rename, link, removal and import before it happens, so that the process
# dies at exactly one point: at the n-th event of a kind whose arguments name a path.
KILLER = """
import os, signal, sys

kind, name, times = os.environ["KILL_AT"].split()
left = int(times)

def look(event, arguments):
    global left
    if event == kind and any(str(argument).endswith(name) for argument in arguments):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(look)
"""
REPORT = "report/index.html"
MANIFEST = "report/manifest.json"


@pytest.fixture(autouse=True)
def _environment(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    (tmp_path / "killer").mkdir()
    (tmp_path / "killer" / "sitecustomize.py").write_text(KILLER)


def publish(run: Run) -> None:
    command(run, os.environ.copy(), 0)


def publish_killed(run: Run, tmp_path: Path, kill_at: str) -> None:
    """`kill_at`: kind of event, end of the path, and how many such events it takes."""
    path = os.pathsep.join([str(tmp_path / "killer"), os.environ.get("PYTHONPATH", "")])
    command(run, {**os.environ, "PYTHONPATH": path, "KILL_AT": kill_at}, -signal.SIGKILL)


def command(run: Run, environment: dict[str, str], status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "components.publish", run.uri], env=environment, capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr


def committed(run: Run) -> Manifest | None:
    return run.directory(run.layout.report).manifest()


def check_published_once(run: Run, database: str) -> None:
    client = server.connect(database)
    name = run.layout.run
    assert [str(v.version) for v in client.search_model_versions(f"name = '{name}'")] == ["1"]
    assert str(client.get_registered_model(name).aliases["champion"]) == "1"
    directory = run.directory(run.layout.report)
    manifest = directory.require()
    assert manifest.facts["model_version"] == f"{name}/1"
    page = directory.read("index.html", manifest).decode()
    assert "It is the first champion" in page or "It is the champion." in page
    state = read_state(run)
    assert state is not None
    assert state.report == manifest.digest
    experiment = client.get_experiment_by_name("rapid").experiment_id
    tracked = client.search_runs([experiment], f"tags.`rapid.run_uri` = '{run.uri}'")
    assert [(r.info.run_id, r.info.status) for r in tracked] == [(state.run_id, "FINISHED")]
    assert Path(client.download_artifacts(state.run_id, "report.html")).read_text() == page
    assert client.get_run(state.run_id).data.metrics["iteration/pass_at_1"] > 0


@pytest.mark.parametrize(
    ("kill_at", "settled"),
    [
        pytest.param("os.rename tracking.json 2", False, id="registered, not remembered"),
        pytest.param(f"os.rename {REPORT} 1", False, id="rendered, not written"),
        pytest.param(f"os.link {MANIFEST} 1", False, id="written, not committed"),
        pytest.param("os.rename tracking.json 8", True, id="report sent, not remembered"),
    ],
)
def test_killed_and_started_again(tmp_path: Path, database: str, kill_at: str, settled: bool) -> None:
    run = finished_run(tmp_path, name=f"killed-{tmp_path.name}").run
    publish_killed(run, tmp_path, kill_at)
    first = committed(run)
    assert (first is not None) == settled
    publish(run)
    check_published_once(run, database)
    if settled:
        assert committed(run) == first


@pytest.mark.parametrize(
    ("kill_at", "old_manifest"),
    [
        pytest.param(f"os.remove {MANIFEST} 1", True, id="before the old manifest is deleted"),
        pytest.param(f"os.rename {REPORT} 1", False, id="old manifest deleted, old report there"),
    ],
)
def test_killed_while_it_publishes_anew(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, kill_at: str, old_manifest: bool
) -> None:
    run = finished_run(tmp_path, name=f"anew-{tmp_path.name}").run
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        publish(run)
    old = run.directory(run.layout.report).require()
    assert old.facts["model_version"] is None
    publish_killed(run, tmp_path, kill_at)
    assert committed(run) == (old if old_manifest else None)
    assert run.store.exists(f"{run.layout.report}/index.html")
    assert run.store.exists(manifest_key(run.layout.report)) == old_manifest
    publish(run)
    check_published_once(run, database)
