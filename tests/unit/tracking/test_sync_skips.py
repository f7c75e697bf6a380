from pathlib import Path

import pytest

from components.tracking import TRACKING_VARIABLE, session, sync
from tests.support.fake_run import finished_run, prepared_run


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URIs that were connected to; connecting fails."""
    made: list[str] = []

    def refuse(uri: str) -> None:
        made.append(uri)
        raise ConnectionError(f"no route to {uri}")

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(session, "connect", refuse)
    return made


def test_switched_off_it_does_nothing(tmp_path: Path, connections: list[str]) -> None:
    run = finished_run(tmp_path, tracking={"enabled": False}).run
    assert sync(run) is True
    assert connections == []
    assert not run.store.exists(run.layout.tracking)


def test_a_server_that_is_away_gives_a_note_without_credentials(
    tmp_path: Path, connections: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = "http://user:sec/secret@nowhere"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run = prepared_run(tmp_path).run
    assert sync(run) is False
    assert connections == [uri]
    said = capsys.readouterr().err
    assert "results not sent to http://nowhere" in said
    assert "secret" not in said
    assert len(said.splitlines()) == 1


def test_a_pod_without_a_way_to_the_server_leaves_it_to_others(
    tmp_path: Path, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(tmp_path).run
    monkeypatch.setenv(TRACKING_VARIABLE, "off")
    assert sync(run) is True
    assert connections == []
