"""Publish the newest policy: model version, champion alias, report."""

from components.contract.digests import json_digest
from components.contract.errors import InputError
from components.contract.manifest import Facts, Manifest
from components.results import RoundResult, evaluation_of, round_manifests
from components.runtime.clock import Clock
from components.store import Run, StageOutput, open_run
from components.tracking import Registration, read_state, register, sync, wait_for_server


def run_stage(run_uri: str) -> Manifest:
    """Register the newest policy, move the champion alias if it is better, write the report, send both.

    The report is derived from everything else in the run, so it is written anew whenever what it shows has
    changed: more iterations, or a registration that an absent tracking server had held up. Started again with
    nothing changed, this returns the committed manifest and sends only what was not yet sent.

    Returns:
        The manifest, whose facts hold the final scores and the model version.

    Raises:
        InputError: no such run, or its newest policy has not been evaluated.
    """
    clock = Clock()
    run = open_run(run_uri)
    version = run.policy_version()
    policy = run.policy(version).require()
    inputs = {"policy": str(policy.facts["weights_digest"]), **_evaluation(run)}
    with clock.measure("store"):
        run.mark_published(version)
        registration = _registration(run, version, inputs["policy"])
    inputs["registration"] = json_digest(registration.model_dump() if registration else None)
    output = run.output("publish", run.layout.report, inputs)
    manifest = output.manifest()
    if manifest is None or output.mismatch(manifest):
        manifest = _write(run, output, manifest is not None, registration, clock)
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


def _registration(run: Run, version: int, weights_digest: str) -> Registration | None:
    if not run.config.tracking.enabled:
        return None
    state = read_state(run)
    if state and state.registration and state.registration.weights_digest == weights_digest:
        return state.registration
    wait_for_server(run)
    return register(run, version, evaluation_of(run, version))


def _write(run: Run, output: StageOutput, outdated: bool, registration: Registration | None, clock: Clock) -> Manifest:
    # matplotlib and Jinja are wanted only where there is a report to write.
    with clock.measure("load"):
        from components.publish.render_report import render_report
    with clock.measure("compute"):
        page = render_report(run).encode()
    with clock.measure("store"):
        if outdated:
            output.retract()
        output.write("index.html", page)
    version = run.policy_version()
    return output.commit(clock.timings(), _facts(version, evaluation_of(run, version), registration))


def _facts(version: int, evaluation: RoundResult | None, registration: Registration | None) -> Facts:
    return {
        "policy_version": version,
        "eval_reward": evaluation.eval_reward if evaluation else None,
        "pass_at_1": evaluation.pass_at_k[1] if evaluation else None,
        "model_version": f"{registration.name}/{registration.version}" if registration else None,
        "champion": registration.champion if registration else None,
    }
