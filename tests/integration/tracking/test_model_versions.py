import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components.contract.layout import Round
from components.results import evaluation_of
from components.store import Run
from components.tracking import Registration, models, read_state, register, sync
from tests.support.fake_run import prepared_run


def trained_run(
    root: Path, model: str, pass_rate: float, name: str = "demo", grader_version: str = "1", **sections: Any
) -> Run:
    """One iteration, and an evaluation that `pass_rate` of the completions pass."""
    tracking = {"model_name": model}
    fake = prepared_run(root, name, tracking=tracking, loop={"iterations": 1}, **sections)
    fake.grader_version = grader_version
    fake.iteration(1)
    fake.round(Round.evaluation(1), pass_rate=pass_rate)
    return fake.run


def registered(run: Run) -> Registration:
    registration = register(run, 1, evaluation_of(run, 1))
    assert registration is not None
    return registration


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model of this test alone."""
    return f"model-{tmp_path.name}"


def test_a_version_names_the_policy_where_it_lies(client: Any, model: str, tmp_path: Path) -> None:
    run = trained_run(tmp_path, model, 0.5)
    registration = registered(run)
    version = client.get_model_version(model, registration.version)
    assert version.source == run.store.locate(run.layout.policy(1))
    assert version.tags["rapid.weights_digest"] == run.policy(1).require().facts["weights_digest"]
    assert version.tags["rapid.base_model"] == "base-model"
    state = read_state(run)
    assert state is not None
    assert version.run_id == state.run_id
    assert state.registration == registration


def test_a_policy_is_registered_once(client: Any, model: str, tmp_path: Path) -> None:
    run = trained_run(tmp_path, model, 0.5)
    assert sync(run)
    assert [registered(run).version, registered(run).version] == ["1", "1"]
    assert len(client.search_model_versions(f"name = '{model}'")) == 1


def test_two_publishers_at_once_make_one_version(
    client: Any, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run(tmp_path, model, 0.5)
    assert sync(run)
    create, both = models._create, threading.Barrier(2)

    def create_at_once(*args: Any) -> None:
        both.wait(30)
        create(*args)

    monkeypatch.setattr(models, "_create", create_at_once)
    with ThreadPoolExecutor(2) as pool:
        registrations = list(pool.map(lambda _: registered(run), range(2)))
    (version,) = client.search_model_versions(f"name = '{model}'")
    assert {registration.version for registration in registrations} == {str(version.version)}


def test_two_publishers_that_set_the_first_champion_at_once_both_succeed(
    client: Any, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient, MlflowException

    set_alias = MlflowClient.set_registered_model_alias

    def set_by_the_other_too(self: Any, *args: Any) -> None:
        set_alias(self, *args)
        raise MlflowException("UNIQUE constraint failed: registered_model_aliases")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", set_by_the_other_too)
    assert registered(trained_run(tmp_path, model, 0.5)).champion
    assert client.get_model_version_by_alias(model, "champion").version == 1


def test_the_first_evaluated_policy_becomes_champion(client: Any, model: str, tmp_path: Path) -> None:
    assert registered(trained_run(tmp_path, model, 0.5)).champion
    assert client.get_model_version_by_alias(model, "champion").version == 1


def test_a_better_policy_becomes_champion_and_an_equal_or_worse_one_does_not(
    client: Any, model: str, tmp_path: Path
) -> None:
    outcomes = [
        registered(trained_run(tmp_path, model, rate, name)).champion
        for name, rate in (("middle", 0.5), ("worst", 0.0), ("best", 1.0), ("equal", 1.0))
    ]
    assert outcomes == [True, False, True, False]
    assert client.get_model_version_by_alias(model, "champion").version == 3


@pytest.mark.parametrize(
    "sections",
    [
        {"eval_prompts": 4},
        {"reward": {"graders": ["numeric"]}},
        {"evaluate": {"pass_threshold": 0.5}},
        {"evaluate": {"temperature": 0.5}},
        {"grader_version": "sha256-0123456789ab"},
    ],
)
def test_scores_that_measure_something_else_leave_the_champion(
    client: Any, model: str, tmp_path: Path, sections: dict[str, Any]
) -> None:
    registered(trained_run(tmp_path, model, 0.1, "first"))
    other = registered(trained_run(tmp_path, model, 1.0, "other", **sections))
    assert not other.champion
    assert "cannot be compared" in other.comparison
    assert client.get_model_version_by_alias(model, "champion").version == 1


def test_without_an_evaluation_there_is_a_version_but_no_champion(client: Any, model: str, tmp_path: Path) -> None:
    run = trained_run(tmp_path, model, 0.5)
    registration = register(run, 1, None)
    assert registration is not None
    assert not registration.champion
    assert client.get_registered_model(model).aliases == {}


def test_when_the_server_is_away_nothing_is_registered_and_later_it_is(
    client: Any, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run(tmp_path, model, 0.5)
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        assert register(run, 1, evaluation_of(run, 1)) is None
    assert registered(run).champion
    assert len(client.search_model_versions(f"name = '{model}'")) == 1
