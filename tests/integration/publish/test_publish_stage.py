import dataclasses
from pathlib import Path
from typing import Any

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.resolve import config_json
from components.publish.command import publish_command
from components.publish.stage import run_stage as publish
from components.store import Run
from components.tracking import TRACKING_VARIABLE, read_state, server
from components.tracking.command import tracking_command
from tests.support.fake_run import FakeRun, finished_run, prepared_run

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def client(database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return server.connect(database)


def page(run: Run) -> str:
    return run.directory(run.layout.report).read("index.html").decode()


def longer(fake: FakeRun, iterations: int) -> FakeRun:
    """The same run, configured for more iterations."""
    loop = fake.run.config.loop.model_copy(update={"iterations": iterations})
    config = fake.run.config.model_copy(update={"loop": loop})
    fake.run.store.write(fake.run.layout.config, config_json(config).encode())
    return dataclasses.replace(fake, run=dataclasses.replace(fake.run, config=config))


def test_a_finished_run_is_registered_reported_and_closed(client: Any, tmp_path: Path) -> None:
    run = finished_run(tmp_path, name="whole").run
    manifest = publish(run.uri)
    assert (manifest.facts["policy_version"], manifest.facts["published_policy"]) == (2, 2)
    assert manifest.facts["model_version"] == "whole/2"
    assert manifest.facts["champion"] is True
    assert "It is the first champion" in page(run)

    state = read_state(run)
    assert state is not None
    tracked = client.get_run(state.run_id)
    assert tracked.info.status == "FINISHED"
    assert Path(client.download_artifacts(state.run_id, "report.html")).read_text() == page(run)
    assert client.get_model_version("whole", "2").tags["rapid.policy_version"] == "2"


def test_published_again_it_changes_nothing(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path, name="twice").run
    first = publish(run.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    monkeypatch.setattr("components.tracking.session.connect", lambda uri: pytest.fail(f"connected to {uri}"))
    monkeypatch.setattr("components.publish.render_report.render_report", lambda _: pytest.fail("rendered again"))
    assert publish(run.uri) == first


def test_a_server_that_was_away_gets_everything_when_it_is_back(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path, name="late").run
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", NOWHERE)
        manifest = publish(run.uri)
        assert publish(run.uri) == manifest
    assert manifest.facts["model_version"] is None
    assert "It is not registered in MLflow yet" in page(run)
    assert "not sent to http://127.0.0.1:9" in capsys.readouterr().err

    assert publish(run.uri).facts["model_version"] == "late/2"
    assert "It is the first champion" in page(run)
    assert str(client.get_registered_model("late").aliases["champion"]) == "2"


def test_after_an_outage_the_command_registers_the_versions_and_the_champion(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(tmp_path, name="missed").run

    def send() -> object:
        with pytest.raises(SystemExit) as ended:
            tracking_command(run.uri)
        return ended.value.code

    assert send() == 0
    assert not client.search_registered_models("name = 'missed'")  # only published runs are registered
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", NOWHERE)
        publish(run.uri)
        assert send() == 1
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv(TRACKING_VARIABLE, "off")
        assert send() == 0
    assert not client.search_registered_models("name = 'missed'")
    assert send() == 0
    assert str(client.get_registered_model("missed").aliases["champion"]) == "2"
    monkeypatch.setattr("components.tracking.session.connect", lambda uri: pytest.fail(f"connected to {uri}"))
    assert send() == 0


def test_without_tracking_there_is_a_report_all_the_same(tmp_path: Path) -> None:
    run = finished_run(tmp_path, name="quiet", tracking={"enabled": False}).run
    assert publish(run.uri).facts["model_version"] is None
    assert "Tracking is switched off" in page(run)
    assert not run.store.exists(run.layout.tracking)


def test_a_run_that_went_on_is_published_anew(client: Any, tmp_path: Path) -> None:
    fake = finished_run(tmp_path, name="more", iterations=1)
    publish(fake.run.uri)
    fake = longer(fake, iterations=2)
    fake.iteration(2)
    fake.round(Round.evaluation(2), pass_rate=1.0)
    assert publish(fake.run.uri).facts["policy_version"] == 2
    assert "It replaces version 1 as champion" in page(fake.run)
    assert str(client.get_registered_model("more").aliases["champion"]) == "2"


def test_the_best_policy_is_published_and_not_the_newest(client: Any, tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, name="peaked")
    fake.iteration(1)
    fake.iteration(2, pass_rate=1.0)
    fake.round(Round.evaluation(2), pass_rate=0.5)
    facts = publish(fake.run.uri).facts
    assert (facts["policy_version"], facts["published_policy"], facts["pass_at_1"]) == (2, 1, 1.0)
    assert "number 1, not the newest, 2" in " ".join(page(fake.run).split())
    assert [fake.run.is_published(version) for version in (1, 2)] == [True, False]
    assert fake.run.published()
    best = client.get_model_version_by_alias("peaked", "champion")
    assert (best.tags["rapid.policy_version"], best.tags["rapid.pass_at_1"]) == ("1", "1.0")


def test_a_policy_that_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, name="blind")
    fake.iteration(1)
    with pytest.raises(InputError, match="policy 1 has not been evaluated; sample and grade evaluation-0001 first"):
        publish(fake.run.uri)
    assert fake.run.directory(fake.run.layout.report).manifest() is None


def test_without_held_out_prompts_a_version_but_no_champion(client: Any, tmp_path: Path) -> None:
    run = finished_run(tmp_path, name="unmeasured", eval_prompts=0).run
    manifest = publish(run.uri)
    assert (manifest.facts["model_version"], manifest.facts["champion"]) == ("unmeasured/2", False)
    assert client.get_registered_model("unmeasured").aliases == {}


def test_a_run_without_iterations_publishes_its_base_policy(client: Any, tmp_path: Path) -> None:
    run = finished_run(tmp_path, name="base-only", iterations=0).run
    assert publish(run.uri).facts["policy_version"] == 0
    assert client.get_model_version("base-only", "1").source == run.store.locate(run.layout.policy(0))


def test_a_run_in_s3(client: Any, moto: str) -> None:
    run = finished_run(moto, name="far", iterations=1).run
    publish(run.uri)
    assert "aws s3 cp --recursive" in page(run)
    assert client.get_model_version("far", "1").source == f"{moto}/runs/far/iterations/0001/train/policy"


def test_the_command_line_explains_bad_input_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        publish_command(f"{tmp_path}/runs/nothing")
    assert refused.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
