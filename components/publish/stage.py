"""Publish the best policy: model versions, champion alias, model card, report."""

from components.contract.digests import json_digest
from components.contract.errors import InputError
from components.contract.manifest import Facts, Manifest
from components.results import RunResults, best_policy, read_run, round_manifests
from components.runtime.clock import Clock
from components.store import Run, StageOutput, open_run
from components.tracking import Registration, register_once, sync


def run_stage(run_uri: str) -> Manifest:
    """Register every policy of the run, move the champion alias if the best is better, write the report.

    The best policy on held-out prompts is the published one. The report is derived from everything else in the run, so
    it is written anew whenever what it shows has changed: more iterations, or a registration that an absent tracking
    server had held up. Started again with nothing changed, this returns the committed manifest and sends only what was
    not yet sent.

    Returns:
        The manifest, whose facts hold the scores and the model version of the published policy, and the newest policy.

    Raises:
        InputError: no such run, or its newest policy has not been evaluated.
    """
    clock = Clock()
    run = open_run(run_uri)
    inputs = {"policy": _weights(run, run.policy_version()), **_evaluation(run)}
    with clock.measure("store"):
        results = read_run(run)
        published = best_policy(run, results)
        run.mark_published(published)
        inputs["published"] = _weights(run, published)
        registration = register_once(run, results, published) if run.config.tracking.enabled else None
    inputs["registration"] = json_digest(registration.model_dump() if registration else None)
    output = run.output("publish", run.layout.report, inputs)
    manifest = output.manifest()
    if manifest is None or output.mismatch(manifest):
        manifest = _write(run, output, results, published, registration, clock)
    sync(run)
    return manifest


def _evaluation(run: Run) -> dict[str, str]:
    if run.config.data.eval_prompts == 0:
        return {}
    round_ = run.final_round()
    manifests = round_manifests(run, round_)
    if manifests is None:
        raise InputError(
            f"{run.uri}: policy {run.sampled_policy(round_)} has not been evaluated; sample and grade {round_} first "
            f"(python -m components.rollout, then components.reward, on every shard)"
        )
    return {"evaluation": json_digest([[rollout.digest, reward.digest] for rollout, reward in manifests])}


def _weights(run: Run, version: int) -> str:
    return str(run.policy(version).require().facts["weights_digest"])


def _write(
    run: Run, output: StageOutput, results: RunResults, published: int, registration: Registration | None, clock: Clock
) -> Manifest:
    # matplotlib, Jinja and Hugging Face's library are wanted only where there is something to write.
    with clock.measure("load"):
        from components.publish.model_card import write_model_card
        from components.publish.render_report import render_report
    with clock.measure("compute"):
        page = render_report(run, results).encode()
    with clock.measure("store"):
        if output.manifest() is not None:
            output.retract()
        output.write("index.html", page)
        if published > 0:
            write_model_card(run, results, published)
    return output.commit(clock.timings(), _facts(results, published, registration))


def _facts(results: RunResults, published: int, registration: Registration | None) -> Facts:
    evaluation = results.evaluated.get(published)
    return {
        "policy_version": results.policy_version,
        "published_policy": published,
        "eval_reward": evaluation.eval_reward if evaluation else None,
        "pass_at_1": evaluation.pass_at_k[1] if evaluation else None,
        "model_version": f"{registration.name}/{registration.version}" if registration else None,
        "champion": registration.champion if registration else None,
    }
