"""The publish stage killed at every point that matters, and started again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.contract.layout import manifest_key
from components.contract.manifest import Manifest
from components.store import Run
from components.tracking import read_state, server
from tests.support.fake_run import finished_run

pytestmark = pytest.mark.slow

# Forked children share the loaded libraries, so that a start takes a moment. An audit hook is called before every
# rename, link and removal, so that a child dies at exactly one point: the n-th event of a kind with a path.
SCRIPT = """
import json, os, signal, sys
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store
import components.publish.render_report
from components.publish.command import publish_command

def kill_at(kind, name, times):
    left = int(times)

    def look(event, arguments):
        nonlocal left
        if event == kind and any(str(argument).endswith(name) for argument in arguments):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)

for line in sys.stdin:
    uri, server, point = json.loads(line)
    pid = os.fork()
    if not pid:
        os.environ["MLFLOW_TRACKING_URI"] = server
        os.dup2(2, 1)
        if point:
            kill_at(*point.split())
        publish_command(uri)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
REPORT = "report/index.html"
MANIFEST = "report/manifest.json"


Publish = Callable[..., None]


@pytest.fixture(scope="module")
def publisher() -> Iterator["subprocess.Popen[str]"]:
    """Start the process that forks a child for every start of the stage."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process


@pytest.fixture
def publish(publisher: "subprocess.Popen[str]", database: str) -> Publish:
    """Return a function that runs the stage, until it is killed at `kill_at` if that is given.

    `kill_at` is the kind of an event, the end of the path, and the number of such events.
    """

    def run_stage(run: Run, kill_at: str = "", server: str = database) -> None:
        assert publisher.stdin is not None
        assert publisher.stdout is not None
        print(json.dumps([run.uri, server, kill_at]), file=publisher.stdin, flush=True)
        assert int(publisher.stdout.readline()) == (-signal.SIGKILL if kill_at else 0)

    return run_stage


def committed(run: Run) -> Manifest | None:
    return run.directory(run.layout.report).manifest()


def check_published_once(run: Run, database: str) -> None:
    client = server.connect(database)
    name = run.layout.run
    versions = client.search_model_versions(f"name = '{name}'")
    assert sorted((v.tags["rapid.policy_version"], str(v.version)) for v in versions) == [("1", "1"), ("2", "2")]
    assert str(client.get_registered_model(name).aliases["champion"]) == "2"
    directory = run.directory(run.layout.report)
    manifest = directory.require()
    assert manifest.facts["model_version"] == f"{name}/2"
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
    ("kill_at", "is_committed"),
    [
        pytest.param("os.rename tracking.json 2", False, id="registered, not remembered"),
        pytest.param(f"os.rename {REPORT} 1", False, id="rendered, not written"),
        pytest.param(f"os.link {MANIFEST} 1", False, id="written, not committed"),
        pytest.param("os.rename tracking.json 6", True, id="report sent, not remembered"),
    ],
)
def test_killed_and_started_again(
    tmp_path: Path, database: str, publish: Publish, kill_at: str, is_committed: bool
) -> None:
    run = finished_run(tmp_path, name=f"killed-{tmp_path.name}").run
    publish(run, kill_at)
    first = committed(run)
    assert (first is not None) == is_committed
    publish(run)
    check_published_once(run, database)
    if is_committed:
        assert committed(run) == first


@pytest.mark.parametrize(
    ("kill_at", "old_manifest"),
    [
        pytest.param(f"os.remove {MANIFEST} 1", True, id="before the old manifest is deleted"),
        pytest.param(f"os.rename {REPORT} 1", False, id="old manifest deleted, old report there"),
    ],
)
def test_killed_while_it_publishes_anew(
    tmp_path: Path, database: str, publish: Publish, kill_at: str, old_manifest: bool
) -> None:
    run = finished_run(tmp_path, name=f"anew-{tmp_path.name}").run
    publish(run, server="http://127.0.0.1:9")
    old = run.directory(run.layout.report).require()
    assert old.facts["model_version"] is None
    publish(run, kill_at)
    assert committed(run) == (old if old_manifest else None)
    assert run.store.exists(f"{run.layout.report}/index.html")
    assert run.store.exists(manifest_key(run.layout.report)) == old_manifest
    publish(run)
    check_published_once(run, database)
