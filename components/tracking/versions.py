"""The policies of a run in MLflow: each is a logged model of the run, and one version of a registered model.

Policies are registered when the run is published rather than after each iteration. Until an iteration is committed as a
whole its policy may be made again after a kill; publishing waits for the server already; and the champion then moves
once for a run.

MLflow cannot create anything only if it is not there, so several publishers at once may each make a logged model and a
version of the same policy. The version with the lowest number stays; it names its logged model, and each publisher
deletes the others.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from components.contract.manifest import Manifest
from components.results import RoundResult, evaluation_digest
from components.tracking.datasets import HELD_OUT, prompts_digest
from components.tracking.points import evaluation_points
from components.tracking.server import is_http
from components.tracking.session import Session

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

SCORE = "rapid.pass_at_1"
MEASURE = "rapid.evaluation_digest"
WEIGHTS = "rapid.weights"
DELETED = "deleted"
"""Value of the tag `WEIGHTS` where `train.keep_policies` has deleted them."""

_DESCRIPTION = (
    "Policies of rapid-rl: each version is one policy of a run, at its place in storage. The alias `champion` is the "
    "best one on held-out prompts."
)
_LOGGED_MODEL = "rapid.logged_model"
_MODEL_VERSIONS = "mlflow.modelVersions"
"""The tag by which MLflow's pages lead from a logged model to its versions."""


class Versions:
    """The versions of one registered model that are policies of a run."""

    def __init__(self, session: Session, name: str) -> None:
        self._session, self._client, self._run, self._name = session, session.client, session.run, name
        self._experiment = self._client.get_run(session.state.run_id).info.experiment_id
        self._held_out = prompts_digest(session.run, "eval")
        self._measures: dict[str, str] = {}
        self._ensure_model()

    def ensure(self, version: int, evaluation: RoundResult | None) -> "ModelVersion":
        """Return the version of a policy, made if there is none, with its logged model and the scores that it has."""
        policy = self._run.policy(version).require()
        changing = {**self.scores(evaluation), **({} if self._run.keeps_policy(version) else {WEIGHTS: DELETED})}
        found = self._find(version, policy)
        if found is None:
            self._create(version, policy, evaluation)
            found = self._find(version, policy)
            assert found is not None
        for key in changing.keys() - found.tags.keys():
            self._client.set_model_version_tag(self._name, str(found.version), key, changing[key])
        self._complete_model(version, policy, found, evaluation)
        return found

    def scores(self, evaluation: RoundResult | None) -> dict[str, str]:
        """Return the tags of a version that tell its held-out scores, and by which measure; none without them."""
        if evaluation is None or evaluation.eval is None:
            return {}
        graders = evaluation.grader_version
        if graders not in self._measures:
            self._measures[graders] = evaluation_digest(self._run, evaluation)
        return {
            SCORE: repr(evaluation.pass_at_k[1]),
            MEASURE: self._measures[graders],
            "rapid.eval_reward": repr(evaluation.eval.reward),
            **{f"rapid.pass_at_{k}": repr(value) for k, value in evaluation.pass_at_k.items()},
        }

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self._name, description=_DESCRIPTION)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _find(self, version: int, policy: Manifest) -> "ModelVersion | None":
        """Return the first version of a policy of this run, None if there is none; later ones are deleted."""
        from mlflow.exceptions import MlflowException

        found = self._client.search_model_versions(f"name = '{self._name}' and {_with_weights_of(policy)}")
        ours = sorted((v for v in found if self._is_ours(v.tags, version)), key=lambda v: int(v.version))
        for other in ours[1:]:
            with suppress(MlflowException):  # the other publisher deletes it too
                self._client.delete_model_version(self._name, str(other.version))
        return ours[0] if ours else None

    def _is_ours(self, tags: Mapping[str, str], version: int) -> bool:
        return self._identity(version).items() <= tags.items()

    def _identity(self, version: int) -> dict[str, str]:
        """Return the tags that tell a policy of this run from one of an earlier run of the same name."""
        return {
            "rapid.run_uri": self._run.uri,
            "rapid.started": self._session.started.isoformat(),
            "rapid.policy_version": str(version),
        }

    def _create(self, version: int, policy: Manifest, evaluation: RoundResult | None) -> None:
        run, uri = self._run, self._run.policy_location(version)
        tags = {
            **self._identity(version),
            "rapid.policy_uri": uri,
            "rapid.weights_digest": str(policy.facts["weights_digest"]),
            "rapid.base_model": run.config.model.path,
            **self._base_version(),
            **self.scores(evaluation),
        }
        model = self._client.create_logged_model(
            self._experiment, f"policy-{version}", self._session.state.run_id, tags, model_type="policy"
        )
        self._client.create_model_version(
            self._name,
            source=self._source(version, uri),
            run_id=self._session.state.run_id,
            tags={**tags, _LOGGED_MODEL: model.model_id},
            description=f"Policy {version} of the run {run.layout.run}{_score(evaluation)}, in Hugging Face format "
            f"at {uri}",
            await_creation_for=0,
        )

    def _base_version(self) -> dict[str, str]:
        """Return the tag for the model version that the run started from, if it did."""
        facts = self._run.policy(0).require().facts
        return {"rapid.base_version": str(facts["model_version"])} if "model_version" in facts else {}

    def _source(self, version: int, uri: str) -> str:
        """Return the policy's URI, or an artifact that names it.

        A tracking server refuses sources that are paths of a file system, unless they are artifacts of the run;
        the policy then goes by its tag `rapid.policy_uri`.
        """
        if not (is_http(self._session.uri) and uri.startswith("file:")):
            return uri
        run_id, artifact = self._session.state.run_id, f"policies/{version:04d}"
        self._client.log_dict(run_id, {"policy_uri": uri}, f"{artifact}/policy.json")
        return f"runs:/{run_id}/{artifact}"

    def _complete_model(
        self, version: int, policy: Manifest, registered: "ModelVersion", evaluation: RoundResult | None
    ) -> None:
        """Give the logged model of a version what is missing: its scores, and its links to run and version."""
        model = self._only_model(version, policy, registered.tags.get(_LOGGED_MODEL))
        if model is None:
            return
        if evaluation and not model.metrics:
            points = [p for p in evaluation_points(evaluation, self._session.started) if p.key.startswith("iteration/")]
            self._session.log(points, model_id=model.model_id, dataset_name=HELD_OUT, dataset_digest=self._held_out)
        links = json.dumps([{"name": self._name, "version": str(registered.version)}])
        if model.tags.get(_MODEL_VERSIONS) == links:
            return
        self._log_output(model.model_id, version)
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.set_logged_model_tags(model.model_id, {_MODEL_VERSIONS: links})

    def _only_model(self, version: int, policy: Manifest, model_id: str | None) -> "LoggedModel | None":
        """Return a policy's logged model, None where somebody has deleted it; those of other publishers are deleted."""
        from mlflow.exceptions import MlflowException

        found = self._client.search_logged_models([self._experiment], _with_weights_of(policy))
        ours = {model.model_id: model for model in found if self._is_ours(model.tags, version)}
        for other in ours.keys() - {model_id}:
            with suppress(MlflowException):
                self._client.delete_logged_model(other)
        return ours.get(model_id or "")

    def _log_output(self, model_id: str, version: int) -> None:
        """Link the run to a logged model. MLflow refuses a link that is there."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        run_id = self._session.state.run_id

        def is_linked() -> bool:
            outputs = self._client.get_run(run_id).outputs
            return outputs is not None and any(output.model_id == model_id for output in outputs.model_outputs)

        if is_linked():
            return
        try:
            self._client.log_outputs(run_id, [LoggedModelOutput(model_id, version)])
        except MlflowException:
            if not is_linked():
                raise


def _score(evaluation: RoundResult | None) -> str:
    return f", held-out pass@1 {evaluation.pass_at_k[1]:.3f}" if evaluation and evaluation.pass_at_k else ""


def _with_weights_of(policy: Manifest) -> str:
    return f"tags.`rapid.weights_digest` = '{policy.facts['weights_digest']}'"
