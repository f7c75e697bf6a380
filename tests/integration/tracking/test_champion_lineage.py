"""Runs that start from the champion, each on held-out prompts of its own."""

from pathlib import Path
from typing import Any

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.results import read_run
from components.store import Run
from components.tracking import Registration, find_policy, register, tracking_uri
from tests.support.fake_run import FakeRun, prepared_run


@pytest.fixture
def model(tmp_path: Path) -> str:
    return f"lineage-{tmp_path.name}"


def started(root: Path, model: str, name: str, *, start: Run | None = None, eval_prompts: int = 20) -> FakeRun:
    """A run that is prepared; its base policy has the weights of `start`'s policy 1."""
    fake = prepared_run(root, name, eval_prompts, tracking={"model_name": model}, loop={"iterations": 1})
    if start is not None:
        run = fake.run
        weights = start.store.read(f"{start.layout.policy(1)}/model.safetensors")
        run.store.delete(f"{run.layout.policy(0)}/manifest.json")
        fake.weights = {0: weights}
        fake.policy(0)
    return fake


def trained(fake: FakeRun, before: float, after: float) -> Registration:
    """`before` and `after`: share of held-out completions that pass under the policies 0 and 1."""
    fake.round(Round.iteration(1), pass_rate=before)
    fake.train(1)
    fake.round(Round.evaluation(1), pass_rate=after)
    registration = register(fake.run, read_run(fake.run), 1)
    assert registration is not None
    return registration


@pytest.fixture
def first(client: Any, model: str, tmp_path: Path) -> FakeRun:  # noqa: ARG001
    """The champion: version 1, with every completion right on its own, easy held-out prompts."""
    fake = started(tmp_path, model, "first")
    assert trained(fake, 0.5, 1.0).champion
    return fake


def test_on_harder_prompts_the_better_of_the_two_wins(client: Any, model: str, tmp_path: Path, first: FakeRun) -> None:
    second = started(tmp_path, model, "second", start=first.run, eval_prompts=24)
    registration = trained(second, before=0.2, after=0.7)
    assert registration.champion
    assert "measured on the same prompts in this run, which started from it" in registration.comparison
    assert client.get_model_version_by_alias(model, "champion").version == 2


def test_a_policy_that_lost_ground_leaves_the_champion(client: Any, model: str, tmp_path: Path, first: FakeRun) -> None:
    second = started(tmp_path, model, "second", start=first.run, eval_prompts=24)
    registration = trained(second, before=0.7, after=0.2)
    assert not registration.champion
    assert "version 1 stays champion" in registration.comparison.lower()
    assert client.get_model_version_by_alias(model, "champion").version == 1


def test_a_champion_that_changed_meanwhile_was_not_measured_here(
    client: Any, model: str, tmp_path: Path, first: FakeRun
) -> None:
    late = started(tmp_path, model, "late", start=first.run, eval_prompts=24)
    quick = started(tmp_path, model, "quick", start=first.run, eval_prompts=22)
    assert trained(quick, before=0.2, after=0.9).champion
    registration = trained(late, before=0.1, after=1.0)
    assert not registration.champion
    assert "cannot be compared" in registration.comparison
    assert client.get_model_version_by_alias(model, "champion").version == 2


def test_an_alias_and_a_number_lead_to_the_policy(model: str, first: FakeRun) -> None:
    run = first.run
    for reference in (f"models:/{model}@champion", f"models:/{model}/1"):
        found = find_policy(reference, tracking_uri(run), "model.path")
        assert (found.name, found.version) == (model, "1")
        assert found.uri == run.store.locate(run.layout.policy(1))
        assert found.weights_digest == run.policy(1).require().facts["weights_digest"]


def test_latest_leads_to_the_newest_version(model: str, tmp_path: Path, first: FakeRun) -> None:
    second = started(tmp_path, model, "second")
    assert not trained(second, 0.5, 0.1).champion
    found = find_policy(f"models:/{model}/latest", tracking_uri(first.run), "model.path")
    assert (found.version, found.uri) == ("2", second.run.policy_location(1))


@pytest.mark.parametrize(
    "reference",
    ["models:/nobody@champion", "models:/nobody/latest", "models:/{model}@runner-up", "models:/{model}/7"],
)
def test_what_is_not_registered_is_said_with_the_way_out(model: str, first: FakeRun, reference: str) -> None:
    with pytest.raises(
        InputError, match=r"has no such version; set MLFLOW_TRACKING_URI .* run once .* tracking\.model_name="
    ):
        find_policy(reference.format(model=model), tracking_uri(first.run), "model.path")


@pytest.mark.parametrize("reference", ["models:/", "models:/name", "models:/name@a/3", "models:/name/newest"])
def test_a_malformed_reference_is_shown_how_to_be_written(first: FakeRun, reference: str) -> None:
    with pytest.raises(InputError, match="write models:/NAME@champion, models:/NAME/latest or models:/NAME/3"):
        find_policy(reference, tracking_uri(first.run), "model.path")


def test_a_server_that_is_away_is_named_without_its_password(
    model: str, first: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    with pytest.raises(InputError, match=r"MLflow at http://127\.0\.0\.1:9 did not answer") as caught:
        find_policy(f"models:/{model}@champion", tracking_uri(first.run), "model.path")
    assert "hunter2" not in str(caught.value)
