"""The registry of an MLflow server, as runs fill it."""

from typing import Any

from components.results import best_policy, read_run
from components.store import Run
from components.tracking import Registration, read_state, register


def registered(run: Run) -> Registration:
    results = read_run(run)
    registration = register(run, results, best_policy(run, results))
    assert registration is not None
    return registration


def policies_of(client: Any, model: str) -> list[str]:
    """The policies behind the versions of a model, by version."""
    versions = client.search_model_versions(f"name = '{model}'")
    return [v.tags["rapid.policy_version"] for v in sorted(versions, key=lambda v: int(v.version))]


def logged_models(client: Any, run: Run) -> list[Any]:
    state = read_state(run)
    assert state is not None
    experiment = client.get_run(state.run_id).info.experiment_id
    return [m for m in client.search_logged_models([experiment]) if m.tags.get("rapid.run_uri") == run.uri]
