import dataclasses
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round, RunLayout
from components.results import evaluation_of, prompt_scores, read_run, score_difference
from components.store import Run
from components.tracking import find_policy, read_state, register, sync, tracking_uri
from components.tracking.datasets import prompts_digest
from components.tracking.models import _Contest
from components.tracking.versions import Versions
from tests.support.fake_run import finished_run, prepared_run
from tests.support.registry import logged_models, policies_of, registered


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
    create, both = Versions._create, threading.Barrier(2)

    def create_at_once(*args: Any) -> None:
        both.wait(30)
        create(*args)

    monkeypatch.setattr(Versions, "_create", create_at_once)
    with ThreadPoolExecutor(2) as pool:
        registrations = list(pool.map(lambda _: registered(run), range(2)))
    (version,) = client.search_model_versions(f"name = '{model}'")
    assert {registration.version for registration in registrations} == {str(version.version)}
    (logged,) = logged_models(client, run)
    assert version.tags["rapid.logged_model"] == logged.model_id


def test_each_policy_is_one_logged_model_with_its_scores(client: Any, model: str, tmp_path: Path) -> None:
    run = finished_run(tmp_path, tracking={"model_name": model}).run
    registered(run)
    assert policies_of(client, model) == ["1", "2"]
    first, second = sorted(logged_models(client, run), key=lambda m: m.name)
    assert (first.name, second.name) == ("policy-1", "policy-2")
    assert first.status == "READY"
    assert json.loads(second.tags["mlflow.modelVersions"]) == [{"name": model, "version": "2"}]
    evaluation = evaluation_of(run, 2)
    assert evaluation is not None
    scores = {m.key: (m.value, m.step, m.dataset_name, m.dataset_digest) for m in second.metrics}
    digest = prompts_digest(run, "eval")
    assert scores["iteration/pass_at_1"] == (evaluation.pass_at_k[1], 2, "held-out prompts", digest)
    assert {key.partition("/")[0] for key in scores} == {"iteration"}
    tracked = client.get_run(first.source_run_id)
    outputs = {(output.model_id, output.step) for output in tracked.outputs.model_outputs}
    assert outputs == {(first.model_id, 1), (second.model_id, 2)}
    assert sync(run)
    assert len(client.get_metric_history(first.source_run_id, "iteration/pass_at_1")) == 3


def test_killed_at_any_request_and_published_again_each_policy_has_one_version(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is made, and its answer never comes."""
    from mlflow import MlflowClient

    run, name = finished_run(tmp_path).run, f"killed-{tmp_path.name}"
    assert sync(run)
    made: list[str] = []
    for request in ("create_logged_model", "create_model_version", "log_outputs", "finalize_logged_model", "log_batch"):
        again = finished_run(tmp_path / request, name=request, tracking={"model_name": f"{name}-{request}"}).run
        assert sync(again)
        with monkeypatch.context() as dying:
            perform = getattr(MlflowClient, request)

            def die(self: Any, *args: Any, perform: Any = perform, request: str = request, **options: Any) -> None:
                perform(self, *args, **options)
                made.append(request)
                raise KeyboardInterrupt

            dying.setattr(MlflowClient, request, die)
            with pytest.raises(KeyboardInterrupt):
                registered(again)
        registered(again)
        assert policies_of(client, f"{name}-{request}") == ["1", "2"]
        assert sorted(m.name for m in logged_models(client, again)) == ["policy-1", "policy-2"]
    assert len(made) == 5


def test_the_best_policy_of_a_run_becomes_champion_although_a_later_one_is_the_newest(
    client: Any, model: str, tmp_path: Path
) -> None:
    fake = prepared_run(tmp_path, tracking={"model_name": model}, loop={"iterations": 3})
    fake.iteration(1)
    fake.iteration(2, pass_rate=0.2)
    fake.iteration(3, pass_rate=1.0)
    fake.round(Round.evaluation(3), pass_rate=0.9)
    registration = registered(fake.run)
    assert registration.weights_digest == fake.run.policy(2).require().facts["weights_digest"]
    assert policies_of(client, model) == ["1", "2", "3"]
    assert client.get_model_version_by_alias(model, "champion").tags["rapid.policy_version"] == "2"


def test_a_version_whose_weights_were_deleted_says_so(client: Any, model: str, tmp_path: Path) -> None:
    fake = finished_run(tmp_path, tracking={"model_name": model})
    registered(fake.run)
    fake.run.store.delete(f"{fake.run.layout.policy(1)}/model.safetensors")
    registered(fake.run)
    tags = [client.get_model_version(model, number).tags.get("rapid.weights") for number in ("1", "2")]
    assert tags == ["deleted", None]
    with pytest.raises(InputError, match=r"version 1 without weights: train\.keep_policies has deleted them"):
        find_policy(f"models:/{model}/1", tracking_uri(fake.run), "model.path")


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


@pytest.mark.parametrize("first", [None, 0.1], ids=["no champion", "a champion"])
def test_a_champion_of_another_run_during_the_comparison_is_compared_with(
    client: Any, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float | None
) -> None:
    if first is not None:
        registered(trained_run(tmp_path, model, first, "first"))
    slow, quick = trained_run(tmp_path, model, 0.7, "slow"), trained_run(tmp_path, model, 1.0, "quick")
    compare = _Contest._compare

    def while_another_publishes(self: _Contest, *args: Any) -> tuple[bool, str]:
        result = compare(self, *args)
        monkeypatch.setattr(_Contest, "_compare", compare)
        assert registered(quick).champion
        return result

    monkeypatch.setattr(_Contest, "_compare", while_another_publishes)
    registration = registered(slow)
    champion = client.get_model_version_by_alias(model, "champion")
    assert champion.tags["rapid.run_uri"] == quick.uri
    assert not registration.champion
    assert f"Version {champion.version} stays champion" in registration.comparison


def test_the_first_evaluated_policy_becomes_champion(client: Any, model: str, tmp_path: Path) -> None:
    assert registered(trained_run(tmp_path, model, 0.5)).champion
    assert client.get_model_version_by_alias(model, "champion").version == 1


@pytest.mark.parametrize(("margin", "is_champion"), [(2.0, False), (0.0, True)])
@pytest.mark.usefixtures("client")
def test_a_difference_within_the_noise_leaves_the_champion(
    model: str, tmp_path: Path, margin: float, is_champion: bool
) -> None:
    registered(trained_run(tmp_path, model, 0.5, "first", eval_prompts=20))
    tracking = {"model_name": model, "champion_margin": margin}
    fake = prepared_run(tmp_path, "second", 20, tracking=tracking, loop={"iterations": 1})
    fake.iteration(1)
    fake.round(Round.evaluation(1), pass_rate=0.55)
    first, second = (prompt_scores(Run(fake.run.store, RunLayout(n), fake.run.config), 1) for n in ("first", "second"))
    difference = score_difference(second, first)
    assert difference is not None
    assert 0 < difference.mean < 2 * difference.standard_error
    registration = registered(fake.run)
    assert registration.champion is is_champion
    assert str(difference) in registration.comparison


@pytest.mark.usefixtures("client")
def test_a_champion_whose_completions_are_gone_stays(model: str, tmp_path: Path) -> None:
    registered(trained_run(tmp_path, model, 0.1, "first"))
    shutil.rmtree(tmp_path / "runs/first")
    later = registered(trained_run(tmp_path, model, 1.0, "later"))
    assert not later.champion
    assert "its completions are gone" in later.comparison


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
    unmeasured = dataclasses.replace(read_run(run), iterations=(), evaluations=())
    registration = register(run, unmeasured, 1)
    assert registration is not None
    assert not registration.champion
    assert client.get_registered_model(model).aliases == {}


def test_when_the_server_is_away_nothing_is_registered_and_later_it_is(
    client: Any, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run(tmp_path, model, 0.5)
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        assert register(run, read_run(run), 1) is None
    assert registered(run).champion
    assert len(client.search_model_versions(f"name = '{model}'")) == 1
