"""Fixtures that several folders share: MLflow for real, the sandbox of this machine."""

import shutil
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import SandboxSection
from components.sandbox import modes
from components.tracking.server import connect


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file with MLflow's tables, to be copied because creating them takes seconds."""
    path = tmp_path_factory.mktemp("mlflow-tables") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def database(mlflow_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URI of an MLflow database that the tests of a file share."""
    return f"sqlite:///{shutil.copy(mlflow_tables, tmp_path_factory.mktemp('mlflow'))}"


@pytest.fixture
def mode() -> str:
    """Return the mode in which this machine can run programs; skip where it has none."""
    try:
        return modes.choose_mode(SandboxSection())
    except InputError as error:
        pytest.skip(f"no sandbox here: {error}")
