"""The tracking server of a run, and a client that never delays training for long."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from components.contract.credentials import without_credentials
from components.store import Run, Store, StoreUnavailable
from components.store.patient import patience_seconds, patiently
from components.tracking.database import SQLITE, ensure_database
from components.tracking.errors import is_temporary, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"

_PATIENCE = {
    # A dead server costs each attempt a few seconds; what it missed is sent later.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_DATABASE_ATTEMPTS = 2


def tracking_uri(run: Run) -> str:
    """`MLFLOW_TRACKING_URI`, else `tracking.uri`, else an SQLite file."""
    return tracking_uri_of(run.store, run.config.tracking.uri)


def tracking_uri_of(store: Store, configured: str | None = None) -> str:
    """Return the tracking server of the runs in a store.

    Without any it is an SQLite file, in the directory of a local store, and in the working directory when runs are kept
    in S3.
    """
    local = (store.local_path("") or Path.cwd()) / DATABASE
    return os.environ.get("MLFLOW_TRACKING_URI") or configured or f"sqlite:///{local}"


def connect(uri: str) -> "MlflowClient":
    """Return a client that gives up within seconds. Raises whatever MLflow raises, ImportError without MLflow."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    # MlflowClient rather than the fluent functions, which look for git, notebooks and system metrics.
    from mlflow import MlflowClient

    # MLflow looks at the variable when it is imported, which something else in this process may have done.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    if not is_http(uri):
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = _DATABASE_ATTEMPTS  # ten attempts with doubling pauses are minutes
        ensure_database(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def wait_for_server(uri: str) -> None:
    """Wait in a pod until the tracking server answers, for as long as for object storage; elsewhere not at all.

    For those who need it to go on. Whether it answers in the end shows the next request.
    """
    where = f"MLflow at {without_credentials(uri)}"
    if not is_http(uri) or not (seconds := patience_seconds()):
        return

    def ask() -> None:
        try:
            connect(uri).search_experiments(max_results=1)
        except ImportError:
            return
        except Exception as error:
            if is_temporary(error):
                raise StoreUnavailable(f"{where} does not answer: {reason(error)}") from None

    with suppress(StoreUnavailable):
        patiently(where, seconds, ask)


def is_http(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def artifact_location(uri: str) -> str | None:
    """Return where a new experiment keeps its artifacts: beside an SQLite file, None to leave it to the server."""
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).absolute().parent / ARTIFACTS).as_uri()
