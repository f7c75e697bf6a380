"""Registration of a run's policies, and of the best of them as champion."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.contract.errors import InputError
from components.results import (
    RunResults,
    ScoreDifference,
    evaluation_digest,
    evaluation_of,
    prompt_scores,
    score_difference,
)
from components.store import Run, StoreUnavailable, open_run
from components.tracking.server import tracking_uri, wait_for_server
from components.tracking.session import Session, report_failure
from components.tracking.state import Registration, read_state
from components.tracking.versions import MEASURE, SCORE, Versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"


def register(run: Run, results: RunResults, published: int) -> Registration | None:
    """Make every policy that a run has made a model version, and the published one champion if it is better.

    A version's source is the policy's place in storage; nothing is uploaded. Each policy is registered once, however
    often this is called, in the order of the iterations, so that `models:/NAME/latest` is the newest. The base policy
    is registered only where it is published, because the run made no other.

    The alias `champion` moves when the published policy's pass@1 on the held-out prompts is higher than the champion's
    by more than `tracking.champion_margin` standard errors of the difference, paired over prompts. A run that started
    from the champion has sampled that very policy (its own policy 0) on its own held-out prompts in its first round,
    so the two are compared there. Otherwise the champion's completions in its own run serve if they measure the same
    (`evaluation_digest`) and are still there; where they do not, the champion stays, and moving it is a person's
    decision. Without a champion the published policy becomes it if it was evaluated.

    Returns:
        The registration of the published policy, which is stored in the run too. None, with a note, when the server
        could not be reached: this function raises no exception.
    """
    with report_failure(run, "model versions"):
        session = Session(run)
        name = run.config.tracking.model_name or run.config.run.name
        versions = Versions(session, name)
        evaluated = results.evaluated
        made = sorted({published, *range(1, results.policy_version + 1)})
        numbers = {version: str(versions.ensure(version, evaluated.get(version)).version) for version in made}
        scores = versions.scores(evaluated.get(published))
        champion, comparison = _Contest(session, name).enter(published, numbers[published], scores)
        registration = Registration(
            name=name,
            version=numbers[published],
            weights_digest=str(run.policy(published).require().facts["weights_digest"]),
            newest_digest=str(run.policy(results.policy_version).require().facts["weights_digest"]),
            champion=champion,
            comparison=comparison,
        )
        session.save(registration=registration)
        return registration
    return None


def register_once(run: Run, results: RunResults, published: int) -> Registration | None:
    """Return the registration of a run as it is now; made by `register` if it is missing."""
    state = read_state(run)
    found = state.registration if state else None
    digests = (str(run.policy(v).require().facts["weights_digest"]) for v in (published, results.policy_version))
    if found and (found.weights_digest, found.newest_digest) == tuple(digests):
        return found
    wait_for_server(tracking_uri(run))
    return register(run, results, published)


class _Contest:
    """The comparison of a policy of a run with the champion of a registered model."""

    def __init__(self, session: Session, name: str) -> None:
        self._run, self._name = session.run, name
        self._client: MlflowClient = session.client
        self._margin = session.run.config.tracking.champion_margin

    def enter(self, policy: int, version: str, scores: Mapping[str, str]) -> tuple[bool, str]:
        """Make a version the champion if it is better; return whether it is champion now, and why, as a sentence.

        A comparison may take minutes, in which another run may set the alias: then the new champion is compared with.
        """
        from mlflow.exceptions import MlflowException

        champion = self._champion()
        while True:
            better, why = self._compare(policy, version, scores, champion)
            if not better or champion == version:
                return better, why
            present = self._champion()
            if present == champion:
                try:
                    self._client.set_registered_model_alias(self._name, CHAMPION, version)
                    return True, why
                except MlflowException:
                    # Another publisher may have set the first one at the same moment.
                    present = self._champion()
                    if present == champion:
                        raise
            champion = present

    def _compare(self, policy: int, version: str, scores: Mapping[str, str], champion: str | None) -> tuple[bool, str]:
        if champion == version:
            return True, "It is the champion."
        if not scores:
            return False, "It was not evaluated on held-out prompts, so it cannot become the champion."
        if champion is None:
            return True, f"It is the first champion, with pass@1 {float(scores[SCORE]):.3f}."
        difference, where = self._difference(policy, champion, scores[MEASURE])
        if difference is None:
            return False, (
                f"Version {champion} stays champion: it was measured on other held-out prompts, graders or sampling, "
                f"or its completions are gone, so the two cannot be compared. To move the alias yourself: "
                f"MlflowClient().set_registered_model_alias({self._name!r}, {CHAMPION!r}, {version!r})"
            )
        if not difference.exceeds(self._margin):
            return False, (
                f"Version {champion} stays champion: the difference in pass@1{where}, {difference}, is not above "
                f"{self._margin:g} standard errors (tracking.champion_margin)."
            )
        return True, f"It replaces version {champion} as champion: the difference in pass@1{where} is {difference}."

    def _champion(self) -> str | None:
        alias = self._client.get_registered_model(self._name).aliases.get(CHAMPION)
        return None if alias is None else str(alias)

    def _difference(self, policy: int, champion: str, measure: str) -> tuple[ScoreDifference | None, str]:
        """Return the policy's pass@1 less the champion's by the same measure, or None; and where it was measured."""
        tags = self._client.get_model_version(self._name, champion).tags
        scores = prompt_scores(self._run, policy)
        base = self._run.policy(0).require()
        if tags.get("rapid.weights_digest") == base.facts["weights_digest"]:
            # Preferred to the evaluation that it won with, which is rather too high.
            evaluation = evaluation_of(self._run, 0)
            if evaluation is not None and evaluation_digest(self._run, evaluation) == measure:
                where = ", measured on the same prompts in this run, which started from it"
                return score_difference(scores, prompt_scores(self._run, 0)), where
        if tags.get(MEASURE) != measure:
            return None, ""
        try:
            others = prompt_scores(open_run(tags["rapid.run_uri"]), int(tags["rapid.policy_version"]))
        except StoreUnavailable:
            raise  # it is compared when the store answers again
        except InputError:
            return None, ""
        return score_difference(scores, others), ""
