"""Policies as versions of a registered model, the best of which is the champion."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from components.contract.manifest import Manifest
from components.results import RoundResult, evaluation_digest, evaluation_of
from components.store import Run
from components.tracking.server import is_http
from components.tracking.session import Session, report_failure
from components.tracking.state import Registration

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
_SCORE = "rapid.pass_at_1"
_MEASURE = "rapid.evaluation_digest"


def register(run: Run, version: int, evaluation: RoundResult | None) -> Registration | None:
    """Make a policy a model version, and the champion if it is better than the current one.

    The version's source is the policy's place in storage; nothing is uploaded. A policy of a run is registered
    once, however often this is called.

    The alias `champion` moves when pass@1 on the held-out prompts is higher than that of the current champion;
    a tie keeps the champion. A run that started from the champion has sampled that very policy (its own version 0)
    on its own held-out prompts in its first round, so the two are compared there. Otherwise the champion's stored
    score serves if it measures the same (`evaluation_digest`); where it does not, the champion stays, and moving it
    is a person's decision. Without a champion a policy that was evaluated becomes it.

    Returns:
        The registration, which is stored in the run too. None, with a note, when the server could not be reached: this
        function raises no exception.
    """
    with report_failure(run, f"policy {version}"):
        session = Session(run)
        policy = run.policy(version).require()
        name = run.config.tracking.model_name or run.config.run.name
        scores = _scores(run, evaluation)
        _ensure_model(session, name)
        registered = _registered(session, name, policy)
        if registered is None:
            _create(session, name, version, policy, scores)
            registered = _registered(session, name, policy)
            assert registered is not None
        champion, comparison = _promote(session, name, str(registered.version), scores)
        registration = Registration(
            name=name,
            version=str(registered.version),
            weights_digest=str(policy.facts["weights_digest"]),
            champion=champion,
            comparison=comparison,
        )
        session.save(registration=registration)
        return registration
    return None


def _scores(run: Run, evaluation: RoundResult | None) -> dict[str, str]:
    if evaluation is None or evaluation.eval is None:
        return {}
    return {
        _SCORE: repr(evaluation.pass_at_k[1]),
        _MEASURE: evaluation_digest(run, evaluation),
        "rapid.eval_reward": repr(evaluation.eval.reward),
        **{f"rapid.pass_at_{k}": repr(value) for k, value in evaluation.pass_at_k.items()},
    }


def _ensure_model(session: Session, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        session.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _registered(session: Session, name: str, policy: Manifest) -> "ModelVersion | None":
    """Return the version of a policy of this run, None if there is none.

    MLflow cannot create a version only if there is none, so two publishers at once may each make one. The first stays,
    and every publisher looks after it has made its own: the others are deleted.
    """
    from mlflow.exceptions import MlflowException

    found = session.client.search_model_versions(
        f"name = '{name}' and tags.`rapid.weights_digest` = '{policy.facts['weights_digest']}'"
    )
    of_this_run = [v for v in found if v.tags.get("rapid.run_uri") == session.run.uri]
    of_this_run.sort(key=lambda v: int(v.version))
    for other in of_this_run[1:]:
        with suppress(MlflowException):  # the other publisher deletes it too
            session.client.delete_model_version(name, str(other.version))
    return of_this_run[0] if of_this_run else None


def _create(session: Session, name: str, version: int, policy: Manifest, scores: Mapping[str, str]) -> None:
    run = session.run
    uri = run.policy_location(version)
    session.client.create_model_version(
        name,
        source=_source(session, version, uri),
        run_id=session.state.run_id,
        tags={
            "rapid.run_uri": run.uri,
            "rapid.policy_uri": uri,
            "rapid.policy_version": str(version),
            "rapid.weights_digest": str(policy.facts["weights_digest"]),
            "rapid.base_model": run.config.model.path,
            **_base_version(run),
            **scores,
        },
        description=f"Policy {version} of the run {run.layout.run}, in Hugging Face format at {uri}",
        await_creation_for=0,
    )


def _base_version(run: Run) -> dict[str, str]:
    """Return the tag for the model version that the run started from, if it did."""
    facts = run.policy(0).require().facts
    return {"rapid.base_version": str(facts["model_version"])} if "model_version" in facts else {}


def _source(session: Session, version: int, uri: str) -> str:
    """Return the policy's URI, or an artifact that names it.

    A tracking server refuses sources that are paths of a file system, unless they are artifacts of the run;
    the policy then goes by its tag `rapid.policy_uri`.
    """
    if not (is_http(session.uri) and uri.startswith("file:")):
        return uri
    artifact = f"policies/{version:04d}"
    session.client.log_dict(session.state.run_id, {"policy_uri": uri}, f"{artifact}/policy.json")
    return f"runs:/{session.state.run_id}/{artifact}"


def _promote(session: Session, name: str, version: str, scores: Mapping[str, str]) -> tuple[bool, str]:
    from mlflow.exceptions import MlflowException

    champion = session.client.get_registered_model(name).aliases.get(CHAMPION)
    if champion is not None and str(champion) == version:
        return True, "It is the champion."
    if not scores:
        return False, "It was not evaluated on held-out prompts, so it cannot become the champion."
    score = float(scores[_SCORE])
    if champion is None:
        try:
            session.client.set_registered_model_alias(name, CHAMPION, version)
        except MlflowException:
            # Another publisher may have set the first one at the same moment; then it is compared with that.
            if session.client.get_registered_model(name).aliases.get(CHAMPION) is None:
                raise
            return _promote(session, name, version, scores)
        return True, f"It is the first champion, with pass@1 {score:.3f}."
    current = session.client.get_model_version(name, champion).tags
    best, where = _champion_score(session.run, current, scores[_MEASURE])
    if best is None:
        return False, (
            f"Version {champion} stays champion: it was measured on other held-out prompts, graders or sampling, "
            f"so the scores cannot be compared. To move the alias yourself: "
            f"MlflowClient().set_registered_model_alias({name!r}, {CHAMPION!r}, {version!r})"
        )
    if score <= best:
        return False, f"Version {champion} stays champion: pass@1 {score:.3f} is not above its {best:.3f}{where}."
    session.client.set_registered_model_alias(name, CHAMPION, version)
    return True, f"It replaces version {champion} as champion: pass@1 {score:.3f} is above {best:.3f}{where}."


def _champion_score(run: Run, champion: Mapping[str, str], measure: str) -> tuple[float | None, str]:
    """Return the champion's pass@1 by the same measure (or None), and a remark on where it was measured."""
    base = run.policy(0).require()
    if champion.get("rapid.weights_digest") == base.facts["weights_digest"]:
        # Preferred to the stored score, which is the one it won with and so rather too high.
        evaluation = evaluation_of(run, 0)
        if evaluation is not None and evaluation_digest(run, evaluation) == measure:
            return evaluation.pass_at_k[1], ", measured on the same prompts in this run, which started from it"
    if champion.get(_MEASURE) == measure and _SCORE in champion:
        return float(champion[_SCORE]), ""
    return None, ""
