"""MLflow's SQLite file: made under another name and moved into place, so that a kill leaves a whole one or none.

MLflow makes the file by some fifty migrations, one by one. A file in which only some have run is refused by every later
start.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from components.runtime.progress import note

SQLITE = "sqlite:///"
_NEW = ".new"
_FIRST_TABLES = {"alembic_version", "experiments", "metrics", "params", "runs", "tags"}
"""The tables that MLflow makes before all others."""

_FILLED_BY_MIGRATIONS = {"alembic_version", "workspaces"}
_UNCHANGED_SECONDS = 60.0
"""For so long no migration writes anything only where its process is gone."""


def ensure_database(uri: str) -> None:
    """Make the file of an SQLite URI where there is none; of several processes at once one makes it.

    A file that a kill left half made is moved aside and made again: it has MLflow's tables, some or all, and
    nothing in them, because making it ends with the default experiment. Any other file is left to MLflow. Does nothing
    for other URIs.

    Raises:
        OSError: the directory cannot be written, or another process is making the file.
        mlflow.exceptions.MlflowException, sqlalchemy.exc.SQLAlchemyError: the disk is full, for example.
    """
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE)).absolute()
    if not _is_to_be_made(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        if not _is_to_be_made(path):
            return
        for left in path.parent.glob(f".{path.name}.*{_NEW}*"):
            left.unlink(missing_ok=True)
        made = path.with_name(f".{path.name}.{os.getpid()}{_NEW}")
        try:
            _make(made)
            if path.exists() and path.stat().st_size:
                aside = path.rename(path.with_name(f"{path.name}.half-made-{int(time.time())}"))
                note(f"tracking: MLflow was killed while it made {path}; what it left is now {aside}")
            made.replace(path)
        finally:
            made.unlink(missing_ok=True)


def _make(path: Path) -> None:
    from mlflow import MlflowClient

    # Any request makes the database, and the default experiment at its end.
    MlflowClient(tracking_uri=f"{SQLITE}{path}").search_experiments(max_results=1)


def _is_to_be_made(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return True
    if not _is_half_made(path):
        return False
    if time.time() - path.stat().st_mtime < _UNCHANGED_SECONDS:
        raise BlockingIOError(f"another process, such as `mlflow ui`, is making {path}")
    return True


def _is_half_made(path: Path) -> bool:
    """Return whether a file holds tables of MLflow, and nothing but what migrations put into them."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            listed = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {str(name) for (name,) in listed} - {"sqlite_sequence"}
            # A migration copies a table under another name and drops the first.
            names = {table.removeprefix("_alembic_tmp_") for table in tables}
            return (names <= _FIRST_TABLES or names >= _FIRST_TABLES) and not any(
                database.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone()
                for table in tables - _FILLED_BY_MIGRATIONS
            )
    except sqlite3.DatabaseError:  # no database at all, or one that cannot be read: MLflow names it
        return False


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
