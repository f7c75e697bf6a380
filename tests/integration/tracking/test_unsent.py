"""Sending that fails ends in one line: another attempt where that may help, else what to change."""

import errno
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from components.store import StoreUnavailable
from components.tracking import session, sync
from tests.support.fake_run import prepared_run

pytestmark = pytest.mark.slow

AGAIN = "every later stage tries again"
LOGIN = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and their rights"
PATH = "check the path in MLFLOW_TRACKING_URI or tracking.uri"
FILE = "MLFLOW_TRACKING_URI or tracking.uri must name an SQLite file of MLflow that can be written"
ANY = "check MLFLOW_TRACKING_URI, tracking.uri and tracking.experiment"


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Return a function that sends a run to a URI, which fails, and returns the line about it."""
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    run = prepared_run(tmp_path / "store").run

    def send(uri: str) -> str:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert sync(run) is False
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith(f"tracking: results not sent to {uri} (")
        return line

    return send


@pytest.mark.parametrize("retries", ["0", "1"])
@pytest.mark.parametrize(
    ("status", "body", "end"),
    [
        (429, "slow down", AGAIN),
        (500, "<html>defect</html>", AGAIN),
        (500, '{"error_code": "INTERNAL_ERROR", "message": "defect"}', AGAIN),
        (502, "no upstream", AGAIN),
        (503, '{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "database is locked"}', AGAIN),
        (401, "who are you", f"{LOGIN}, and the next stage sends them"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', f"{LOGIN}, and the next stage sends them"),
        (404, "<html>a website</html>", f"{PATH}, and the next stage sends them"),
        (400, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}', f"{ANY}, and the next stage sends them"),
    ],
)
def test_answers_of_a_server(
    said: Callable[[str], str],
    httpserver: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    retries: str,
    status: int,
    body: str,
    end: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    httpserver.expect_request("/api/2.0/mlflow/experiments/get-by-name").respond_with_data(body, status)
    assert said(httpserver.url_for("").rstrip("/")).endswith(f"); {end}")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "http://no-such-host.invalid:5000"])
def test_a_server_that_cannot_be_reached(said: Callable[[str], str], uri: str) -> None:
    assert said(uri).endswith(f"); {AGAIN}")


def test_a_schema_of_another_version(said: Callable[[str], str], mlflow_tables: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(mlflow_tables, tmp_path / "old.db"))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'cc1f77228345'")
    line = said(f"sqlite:///{path}")
    assert "Take a backup of your database" in line
    assert line.endswith(
        f"); run `mlflow db upgrade sqlite:///{path}` with the newest MLflow that uses the database, "
        "and the next stage sends them"
    )


def test_a_file_that_is_no_database_of_mlflow(said: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "text").write_text("no database at all" * 100)
    for name in ("directory", "text"):
        assert said(f"sqlite:///{tmp_path}/{name}").endswith(f"); {FILE}, and the next stage sends them")
    with closing(sqlite3.connect(tmp_path / "study")) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        database.execute("INSERT INTO alembic_version VALUES ('v3.0.0.d')")
        database.execute("CREATE TABLE studies (study_id INTEGER)")
    assert said(f"sqlite:///{tmp_path}/study").endswith(
        "); the database is a newer MLflow's or another program's: upgrade MLflow, or name another file in "
        "MLFLOW_TRACKING_URI or tracking.uri, and the next stage sends them"
    )


def locked(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, closing(sqlite3.connect(path, timeout=0)) as database:
        other.execute("BEGIN EXCLUSIVE")
        database.execute("CREATE TABLE a (b)")


def full(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA max_page_count = 1")
        database.execute("CREATE TABLE a (b)")


def read_only(path: Path) -> None:
    path.touch()
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        database.execute("CREATE TABLE a (b)")


def no_bytes(path: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def being_made(path: Path) -> None:
    raise BlockingIOError(f"another process, such as `mlflow ui`, is making {path}")


def store_is_away(_: Path) -> None:
    raise StoreUnavailable("cannot reach http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("use", "end"),
    [
        (locked, AGAIN),
        (full, AGAIN),
        (no_bytes, AGAIN),
        (being_made, AGAIN),
        (store_is_away, AGAIN),
        (read_only, f"{FILE}, and the next stage sends them"),
    ],
)
@pytest.mark.parametrize("through_mlflow", [False, True])
def test_databases_and_disks(
    said: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[Path], None],
    end: str,
    through_mlflow: bool,
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
    from sqlalchemy.exc import OperationalError

    def connect(_: str) -> None:
        """Fail as MLflow does, which calls every error of a database temporary."""
        try:
            use(tmp_path / "mlflow.db")
        except sqlite3.OperationalError as error:
            failed = OperationalError("SELECT 1", None, error)
            if not through_mlflow:
                raise failed from error
            failed.__cause__ = error
            raise MlflowException(str(failed), error_code=TEMPORARILY_UNAVAILABLE) from failed

    monkeypatch.setattr(session, "connect", connect)
    assert said(f"sqlite:///{tmp_path}/mlflow.db").endswith(f"); {end}")
