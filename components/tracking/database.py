"""MLflow's SQLite file: made under another name and moved into place, so that a kill leaves a whole one or none.

MLflow makes the file by some fifty migrations, one by one. A file in which only some have run is refused by every later
start.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

SQLITE = "sqlite:///"
_NEW = ".new"


def ensure_database(uri: str) -> None:
    """Make the file of an SQLite URI, unless it is there and whole; of several processes at once one makes it.

    A file without any experiment was left by a killed process, because making it ends with the default experiment; it
    is made again. Does nothing for other URIs.

    Raises:
        OSError: the directory cannot be written.
        mlflow.exceptions.MlflowException, sqlalchemy.exc.SQLAlchemyError: the disk is full, for example.
    """
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE)).absolute()
    if _is_whole(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        if _is_whole(path):
            return
        for left in path.parent.glob(f".{path.name}.*{_NEW}*"):
            left.unlink(missing_ok=True)
        made = path.with_name(f".{path.name}.{os.getpid()}{_NEW}")
        try:
            _make(made)
            made.replace(path)
        finally:
            made.unlink(missing_ok=True)


def _make(path: Path) -> None:
    from mlflow import MlflowClient

    # Any request makes the database, and the default experiment at its end.
    MlflowClient(tracking_uri=f"{SQLITE}{path}").search_experiments(max_results=1)


def _is_whole(path: Path) -> bool:
    """Return whether a file is there that MLflow has finished, or that is not MLflow's to replace."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        try:
            return bool(database.execute("SELECT count(*) FROM experiments").fetchone()[0])
        except sqlite3.OperationalError as error:
            return "no such table" not in str(error)
        except sqlite3.DatabaseError:  # no database at all: MLflow names it
            return True


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
