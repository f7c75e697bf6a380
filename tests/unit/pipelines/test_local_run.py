"""The start of a run on this machine, where it fails or is stopped."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from components.contract.config import RunConfig
from components.store import StoreUnavailable
from pipelines import local_run
from pipelines.cli import run_commands


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("target", "name", "error"),
    [
        (local_run, "is_finished", StoreUnavailable("cannot reach http://127.0.0.1:9")),
        (local_run, "is_finished", KeyboardInterrupt()),
        (subprocess, "Popen", OSError(28, "No space left on device")),
        (subprocess, "Popen", KeyboardInterrupt()),
    ],
)
def test_a_run_that_cannot_start_leaves_no_directory(
    example_config: Callable[..., RunConfig],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: object,
    name: str,
    error: BaseException,
) -> None:
    monkeypatch.setattr(target, name, raising(error))
    with pytest.raises(type(error)), local_run.LocalRun(example_config()):
        pass
    assert not list(temporary.iterdir())


def test_ctrl_c_before_the_first_stage_says_how_to_go_on(
    example_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_commands, "check_before_run", lambda _: [])
    monkeypatch.setattr(local_run, "is_finished", raising(KeyboardInterrupt()))
    with pytest.raises(typer.Exit) as stopped:
        run_commands.execute(example_config(), ["run"])
    assert stopped.value.exit_code == 130
    said = " ".join(capsys.readouterr().out.split())
    assert said.endswith("stopped; committed stages are kept, and the same command continues after them")
