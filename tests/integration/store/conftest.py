from pathlib import Path

import pytest

from components.store import Store, open_store


@pytest.fixture(params=["local", "moto"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(request.getfixturevalue("moto") if request.param == "moto" else str(tmp_path / "store"))
