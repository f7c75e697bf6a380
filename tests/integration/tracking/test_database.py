"""MLflow's SQLite file: whole or not there."""

import sqlite3
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


def test_what_a_kill_left_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    half_made(path)
    half_made(tmp_path / ".mlflow.db.123.new")
    assert experiments(path) == ["Default"]
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


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


@pytest.mark.parametrize("content", ["experiments", "no database"])
def test_a_file_that_is_in_use_or_not_ours_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mlflow.db"
    if content == "experiments":
        whole(path)
    else:
        path.write_bytes(b"no database at all, but somebody's file" * 50)
    before = path.read_bytes()
    database.ensure_database(f"sqlite:///{path}")
    assert path.read_bytes() == before
