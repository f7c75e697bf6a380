from typing import Any

import pytest

from components.tracking.server import connect


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An SQLite database with MLflow's tables, made once because that takes seconds."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    connect(uri)
    return uri


@pytest.fixture
def client(database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of that database, which is the tracking server of this test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return connect(database)
