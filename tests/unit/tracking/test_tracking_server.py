from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from components.contract.credentials import without_credentials
from components.contract.errors import InputError
from components.tracking.errors import reason
from components.tracking.server import artifact_location, tracking_uri, wait_for_server
from tests.support.fake_run import make_config, prepared_run


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_environment_goes_before_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared_run(tmp_path, tracking={"uri": "http://configured"}).run
    assert tracking_uri(run) == "http://configured"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert tracking_uri(run) == "http://environment"


def test_by_default_a_database_beside_the_store(tmp_path: Path) -> None:
    assert tracking_uri(prepared_run(tmp_path).run) == f"sqlite:///{tmp_path}/mlflow.db"


def test_for_runs_in_s3_a_database_in_the_working_directory(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(prepared_run(moto).run) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://user:secret@host:5000/path", "https://host:5000/path"),
        ("https://user:se@cret@host", "https://host"),
        ("postgresql://u:hun/secret@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://u:secret@db/mlflow?password=secret", "postgresql://db/mlflow"),
        ("no answer from http://u:secret@host/api?token=secret after 5 s", "no answer from http://host/api after 5 s"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("sqlite:////a@b/c.db", "sqlite:////a@b/c.db"),
    ],
)
def test_credentials_are_taken_out(text: str, clean: str) -> None:
    assert without_credentials(text) == clean


def test_errors_are_shown_in_one_line_without_credentials() -> None:
    assert reason(ValueError("at http://u:secret@host/\nmore")) == "ValueError: at http://host/"


def test_a_message_is_cleaned_before_it_is_cut() -> None:
    said = reason(ValueError("x" * 480 + " http://user:secret-secret-secret@host/"))
    assert said == "ValueError: " + "x" * 480 + " http://host/"


@pytest.mark.parametrize(
    "uri",
    [
        "https://user:secret@host",
        "https://user:se@secret@host",
        "postgresql://u:hun/secret@db/mlflow",
        "postgresql://u:secret?x@db/mlflow",
        "postgresql://db/mlflow?password=secret",
        "postgresql:///mlflow?user=u&password=secret",
    ],
)
def test_a_configuration_with_credentials_is_refused_without_showing_them(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        make_config(tmp_path, tracking={"uri": uri})
    assert str(refused.value).startswith("configuration: tracking.uri must not contain")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("uri", ["http://host:5000/mlflow", "postgresql://db/mlflow", "sqlite:////home/a@b/mlflow.db"])
def test_a_configuration_without_credentials_is_taken(tmp_path: Path, uri: str) -> None:
    assert make_config(tmp_path, tracking={"uri": uri}).tracking.uri == uri


def test_artifacts_lie_beside_an_sqlite_file_and_elsewhere_the_server_decides(tmp_path: Path) -> None:
    assert artifact_location(f"sqlite:///{tmp_path}/mlflow.db") == (tmp_path / "mlartifacts").as_uri()
    assert artifact_location("http://host") is None


def test_only_in_a_pod_a_server_that_is_away_is_waited_for(
    httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([Response("restarting", 503), Response("restarting", 503), Response('{"experiments": []}', 200)])
    httpserver.expect_request("/api/2.0/mlflow/experiments/search").respond_with_handler(lambda _: next(answers))
    run = prepared_run(tmp_path, tracking={"uri": httpserver.url_for("").rstrip("/")}).run
    monkeypatch.setattr("components.store.patient.time.sleep", lambda _: None)
    wait_for_server(tracking_uri(run))
    assert not httpserver.log
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    wait_for_server(tracking_uri(run))
    told = capsys.readouterr().err.splitlines()
    assert "does not answer" in told[0]
    assert told[0].endswith("waiting for it, up to 10 min")
    assert "answers again" in told[1]
    assert next(answers, None) is None
