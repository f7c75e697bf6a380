"""Models and data that lie where this user may not look."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.contract.errors import InputError
from components.contract.resolve import load_config
from pipelines.cli.main import app
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.preflight import preflight
from pipelines.preflight.findings import errors_of
from tests.support.arithmetic_run import write_config
from tests.support.rights import without_rights


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory that nobody may look into. Skips the test for users who still may."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    if os.access(folder, os.X_OK):
        folder.rmdir()
        pytest.skip("this user looks into every directory")
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize("command", [["run", "--dry-run"], ["doctor"]])
def test_it_is_reported_in_a_line(tmp_path: Path, closed: Path, command: list[str]) -> None:
    config = write_config(tmp_path, tracking={"enabled": False})
    for word in (f"model={closed}/model", f"data.train={closed}/prompts.jsonl"):
        done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [command[0], str(config), word, *command[1:]])
        said = done.output + str(done.exception)
        assert isinstance(done.exception, (SystemExit, InputError)), said
        assert f"cannot read {closed}/" in said
        assert "Permission denied" in said


def test_for_a_cluster_it_may_be_a_directory_of_the_pods(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    words = [f"model={closed}/model", f"data.train={closed}/prompts.jsonl", "store=s3://bucket"]
    config = load_config(str(write_config(tmp_path, tracking={"enabled": False})), words)
    with without_rights():
        assert not errors_of(preflight(config, ClusterConfig()).findings)
