"""Update the policy on one iteration's trajectories."""

import os
import tempfile
from pathlib import Path

from components.contract.errors import InputError
from components.contract.layout import Round, manifest_key
from components.contract.manifest import Manifest, Output, policy_digests
from components.contract.metrics import TrainMetrics
from components.contract.resolve import stage_digest
from components.runtime.clock import Clock
from components.runtime.progress import note
from components.store import OutputDirectory, Run, open_run
from components.train.trajectories import read_trajectories, shard_directories

METRICS = "metrics.json"
POLICY = "policy"
OPTIMIZER = "optimizer"

Facts = dict[str, str | int | float | bool | None]


def run(run_uri: str, iteration: int) -> Manifest:
    """Make policy `iteration` from policy `iteration - 1`, or find that the target is reached and make none.

    That the target is reached stands only as long as it is: with a higher `loop.target_reward`, or none, the
    iteration is trained after all.

    Returns:
        The manifest. Facts: outcome, policy_version, target_reached; of a pass also step (optimiser
        steps since the base policy), updates, skipped, and the policy's digests.

    Raises:
        InputError: an input is not committed, does not fit the policy, or the update is impossible with it.
    """
    clock = Clock()
    current = open_run(run_uri)
    if iteration < 1:
        raise InputError(f"iteration {iteration}: iterations count from 1")
    directory = current.directory(current.layout.train(iteration))
    incoming = current.directory(current.layout.policy_commit(iteration - 1))
    policy = incoming.require()
    if not policy.holds_policy:
        raise InputError(
            f"{incoming.uri} made no policy because loop.target_reward was reached; there is nothing to train"
        )
    inputs = {"policy": str(policy.facts["weights_digest"])}
    for shard, rollout, reward in shard_directories(current, iteration):
        inputs[f"trajectories/{shard}"] = rollout.require().digest
        inputs[f"rewards/{shard}"] = reward.require().digest
    digest = stage_digest(current.config, "train")
    done = directory.settled(inputs, digest)
    if done and done.facts["outcome"] == "trained":
        return done

    with clock.measure("store"):
        reached = _target_reached(current, iteration)
    if done and reached:
        return done
    if done:
        current.store.delete(manifest_key(directory.key))
    if reached:
        metrics = TrainMetrics(iteration=iteration, outcome="target_reached", policy_version=iteration - 1)
        outputs: list[Output] = []
        facts: Facts = {}
    else:
        metrics, outputs, facts = _train(current, iteration, incoming, policy, directory, clock)
    with clock.measure("store"):
        outputs.append(directory.write(METRICS, (metrics.model_dump_json(indent=2) + "\n").encode()))
    return directory.commit(
        stage="train",
        run=current.layout.run,
        iteration=iteration,
        outputs=outputs,
        inputs=inputs,
        config_digest=digest,
        timings=clock.timings(),
        facts={
            "outcome": metrics.outcome,
            "policy_version": metrics.policy_version,
            "target_reached": reached,
            **facts,
        },
    )


def _target_reached(current: Run, iteration: int) -> bool:
    target = current.config.loop.target_reward
    if target is None:
        return False
    from components.results import read_round

    result = read_round(current, Round.iteration(iteration))
    if result is None or result.eval_reward is None:
        raise InputError(
            f"{current.uri}: iteration {iteration} has no rewards of held-out prompts, which loop.target_reward needs"
        )
    if result.eval_reward < target:
        return False
    note(f"iteration {iteration}: held-out reward {result.eval_reward:.3f} reaches loop.target_reward {target}")
    return True


def _train(
    current: Run, iteration: int, incoming: OutputDirectory, policy: Manifest, directory: OutputDirectory, clock: Clock
) -> tuple[TrainMetrics, list[Output], Facts]:
    """The pass itself, and the upload of what it made."""
    # Waiting OpenMP threads otherwise spin, and on shared cores keep those they wait for from running.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with clock.measure("load"):
        from components.train.optimiser import build_optimiser, load_optimiser, save_optimiser
        from components.train.policy import (
            choose_device,
            load_master,
            load_policy,
            save_master,
            save_policy,
            vocabulary,
        )
        from components.train.update import run_pass

    config = current.config
    with tempfile.TemporaryDirectory(prefix="rapid-train-") as scratch:
        carried = Path(scratch) / "carried"
        with clock.measure("store"):
            below = POLICY if iteration > 1 else ""
            weights = incoming.fetch(Path(scratch) / "incoming", below)
            if iteration > 1:
                carried = incoming.fetch(carried, OPTIMIZER)
        with clock.measure("load"):
            model = load_policy(weights, config.train.gradient_checkpointing, choose_device())
            load_master(carried, model)
            optimiser = build_optimiser(model, config.train)
            step = load_optimiser(carried, model, optimiser) if iteration > 1 else 0
        with clock.measure("store"):
            data = read_trajectories(current, iteration, policy, vocabulary(model))
        with clock.measure("compute"):
            result = run_pass(model, optimiser, data, config, iteration, step)
        made = Path(scratch) / "made"
        with clock.measure("store"):
            save_optimiser(made / OPTIMIZER, model, optimiser, result.step)
            if config.model.dtype != "float32":
                save_master(made / OPTIMIZER, model)
            save_policy(model, weights, _files(policy, below), made / POLICY, config.model)
            outputs = directory.upload(made)
    metrics = TrainMetrics(
        iteration=iteration,
        outcome="trained",
        policy_version=iteration,
        steps=tuple(result.steps),
        logprob_gap_mean=result.gap_mean,
        logprob_gap_max=result.gap_max,
        groups=data.groups,
        zero_signal_groups=data.zero_signal_groups,
        ended_early=result.ended_early,
    )
    facts: Facts = {
        "step": result.step,
        "updates": len(result.steps),
        "skipped": result.skipped,
        **policy_digests(outputs, POLICY),
    }
    return metrics, outputs, facts


def _files(manifest: Manifest, below: str) -> list[str]:
    prefix = f"{below}/" if below else ""
    return [o.path.removeprefix(prefix) for o in manifest.outputs if o.path.startswith(prefix)]
