from pathlib import Path
from typing import Any

import pytest

from components.tracking.server import connect


@pytest.fixture
def client(database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client of the database, which the environment names as the tracking server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return connect(database)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model of this test alone."""
    return f"model-{tmp_path.name}"
