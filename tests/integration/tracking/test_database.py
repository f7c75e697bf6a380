"""MLflow's SQLite file: whole or not there."""

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from components.tracking import database
from components.tracking.server import connect

pytestmark = pytest.mark.slow


def experiments(path: Path) -> list[str]:
    return [experiment.name for experiment in connect(f"sqlite:///{path}").search_experiments()]


def half_made(path: Path) -> None:
    """A file as a kill leaves it after some of the migrations."""
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT)")
        made.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        made.execute("INSERT INTO alembic_version VALUES ('451aebb31d03')")


def whole(path: Path) -> None:
    """A file that counts as whole, without fifty migrations."""
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT)")
        made.execute("INSERT INTO experiments (name) VALUES ('Default')")


def foreign(path: Path) -> None:
    """A study of Optuna, which numbers its migrations by Alembic too."""
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        made.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY)")


def test_what_a_kill_left_is_moved_aside_and_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mlflow.db"
    half_made(path)
    half_made(tmp_path / ".mlflow.db.123.new")
    left, long_ago = path.read_bytes(), time.time() - 100
    os.utime(path, (long_ago, long_ago))
    assert experiments(path) == ["Default"]
    new, aside = sorted(tmp_path.iterdir())
    assert (new, aside.read_bytes()) == (path, left)
    assert capsys.readouterr().err == f"tracking: MLflow was killed while it made {path}; what it left is now {aside}\n"


def test_an_empty_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_make", whole)
    path = tmp_path / "mlflow.db"
    path.touch()
    database.ensure_database(f"sqlite:///{path}")
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size


def test_a_file_that_another_process_is_making_is_not_moved(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    half_made(path)
    with pytest.raises(BlockingIOError, match=f"another process, such as `mlflow ui`, is making {path}"):
        database.ensure_database(f"sqlite:///{path}")
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_at_once_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        whole(path)

    monkeypatch.setattr(database, "_make", make)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(database.ensure_database, [f"sqlite:///{tmp_path}/mlflow.db"] * 4))
    assert len(made) == 1


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        half_made(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(database, "_make", full)
    with pytest.raises(OSError, match="No space left"):
        database.ensure_database(f"sqlite:///{tmp_path}/mlflow.db")
    assert not list(tmp_path.iterdir())


def no_database(path: Path) -> None:
    path.write_bytes(b"no database at all, but somebody's file" * 50)


def without_experiments(path: Path) -> None:
    """A file whose experiments were deleted for good, while a registered model is left."""
    whole(path)
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("DELETE FROM experiments")
        for table in ("alembic_version", "metrics", "params", "runs", "tags", "registered_models"):
            made.execute(f"CREATE TABLE {table} (name TEXT)")
        made.execute("INSERT INTO registered_models VALUES ('adder')")


@pytest.mark.parametrize("make", [whole, foreign, without_experiments, no_database])
def test_a_file_that_is_in_use_or_not_ours_stays(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "studies.db"
    make(path)
    os.utime(path, (0, 0))
    before = path.read_bytes()
    database.ensure_database(f"sqlite:///{path}")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before
