"""One iteration's training: policy and trajectories in, the next policy and the resume state out."""

import shutil
from pathlib import Path

from components.contract.layout import Round
from components.contract.manifest import Facts, Manifest, policy_digests
from components.contract.metrics import TrainMetrics
from components.runtime.clock import Clock
from components.train.checkpoint import load_checkpoint, save_checkpoint, save_state, upload_all
from components.train.diagnostics import TokenMeans, check_logprob_gap
from components.train.guide import add_guide_logprobs
from components.train.order import order_mini_batches, shape_rewards
from components.train.policy import export_adapters, export_policy, full_state
from components.train.replay import Replayed, read_replayed
from components.train.resident import ADAPTER, OPTIMIZER, Resident
from components.train.retention import delete_outdated
from components.train.scoring import measure_behaviour_gap
from components.train.task import TrainTask
from components.train.trainer import Trainer, UpdateProgress, load_frozen, update_policy
from components.train.trajectories import Trajectories, read_trajectories


def train_iteration(task: TrainTask, clock: Clock, resident: Resident) -> Manifest:
    """Train, upload and commit; every process of those that train together calls it.

    Args:
        resident: what an earlier iteration has left in this process, and this one leaves to the next.
    """
    train, processes = task.run.config.train, resident.processes
    gap = _check_behaviour_policy(task, resident, clock) if task.stale else None
    trainer, data, replayed, progress = _load(task, resident, gap, clock)
    save = (lambda reached: save_checkpoint(task, trainer, reached)) if train.checkpoint_every else None
    with clock.measure("compute"):
        progress = update_policy(trainer, data, task.iteration, progress, save, replayed)
    resident.leave_gpu()  # before the commit, after which the policy is sampled
    policy, state = (resident.scratch / f"{kind}-{task.iteration:04d}" for kind in ("policy", "state"))
    with clock.measure("store"):
        digests = _upload_policy(task, trainer, resident, policy, state / ADAPTER)
        # After a kill between the two an iteration is repeated while its policy is sampled, for which one GPU has no
        # room: there the window is made as small as it can be.
        if resident.shares_gpu:
            _upload_state(task, trainer, progress.step, state)
        if processes.is_main:
            task.commit_policy({"outcome": "trained", **digests}, clock)
        if not resident.shares_gpu:
            _upload_state(task, trainer, progress.step, state)
        shutil.rmtree(state)
    manifest = None
    if processes.is_main:
        manifest = task.commit(_metrics(task, data, progress), _facts(progress), clock)
        task.clear_checkpoints()
        delete_outdated(task.run, task.iteration)
        resident.written(task.iteration, policy, digests["weights_digest"])
    manifest, digest = processes.broadcast((manifest, digests.get("weights_digest", "")))
    resident.keep(task.iteration, digest, progress.step)
    assert manifest is not None
    return manifest


def _check_behaviour_policy(task: TrainTask, resident: Resident, clock: Clock) -> TokenMeans | None:
    """Load the behaviour policy, compare it with its trajectories and release it.

    Raises:
        InputError: it cannot have sampled them.
    """
    config, scratch = task.run.config, resident.scratch / "behaviour"
    with clock.measure("store"):
        version = task.run.sampled_policy(Round.iteration(task.iteration))
        files = resident.policy_files(version, scratch)
    with clock.measure("load"):
        behaviour = load_frozen(files, config, resident.processes)
    shutil.rmtree(scratch, ignore_errors=True)
    with clock.measure("store"):
        data = read_trajectories(task.run, task.iteration, task.behaviour_manifest, task.vocabulary)
    data = shape_rewards(data, config.train.overlong)
    mini_batches = order_mini_batches(data, config, task.iteration).mini_batches
    if not mini_batches:
        return None
    with clock.measure("compute"):
        gap = measure_behaviour_gap(behaviour, data, mini_batches[0], config, resident.processes)
    check_logprob_gap(gap, config.max_logprob_gap)
    return gap


def _load(
    task: TrainTask, resident: Resident, gap: TokenMeans | None, clock: Clock
) -> tuple[Trainer, Trajectories, Replayed | None, UpdateProgress]:
    """Load policy, optimizer and data, and the newest checkpoint within the iteration, where there is one."""
    with clock.measure("store"):
        tokens = task.vocabulary
        data = read_trajectories(task.run, task.iteration, task.behaviour_manifest, tokens)
        replayed = read_replayed(task.run, task.iteration, tokens)
    if task.run.config.train.guide:
        data, replayed = add_guide_logprobs(task, resident, data, replayed, clock)
    trainer, step = resident.load(task.iteration - 1, clock)
    with clock.measure("store"):
        progress = load_checkpoint(task, trainer) if task.run.config.train.checkpoint_every else None
    if progress is None:
        progress = UpdateProgress(
            step=step, gap_mean=gap.gap_mean if gap else None, gap_max=gap.gap_max if gap else None
        )
    return trainer, data, replayed, progress


def _upload_policy(task: TrainTask, trainer: Trainer, resident: Resident, made: Path, adapter: Path) -> dict[str, str]:
    """Write and upload the next policy; adapters, merged into it, go to `adapter` on this machine.

    Returns:
        The digests of the policy; nothing in processes other than the first.
    """
    config = task.run.config
    state = full_state(trainer.policy.model)
    if not resident.processes.is_main:
        return {}
    if lora := config.train.lora:
        state = export_adapters(state, resident.base, lora, config.model.path, adapter)
    export_policy(state, resident.companions_directory, resident.companions, made, config.model)
    task.policy_output.upload(made)
    return policy_digests(task.policy_output.files)


def _upload_state(task: TrainTask, trainer: Trainer, step: int, made: Path) -> None:
    """Upload the state to resume from: the optimizer's, and what is already below `made`."""
    config, processes = task.run.config, trainer.processes
    # A float32 policy is its own master copy; adapters are kept beside the policy they are merged into.
    with_weights = config.model.dtype != "float32" and not config.train.lora
    save_state(made / OPTIMIZER, trainer.policy.model, trainer.optimizer, step, with_weights, processes)
    upload_all(task.output, made, "", processes)


def _metrics(task: TrainTask, data: Trajectories, progress: UpdateProgress) -> TrainMetrics:
    # Without any mini-batch there is none at which training has ended.
    any_mini_batch = data.groups > progress.dropped_groups
    return TrainMetrics(
        iteration=task.iteration,
        outcome="trained",
        policy_version=task.iteration,
        steps=tuple(progress.steps),
        logprob_gap_mean=progress.gap_mean,
        logprob_gap_max=progress.gap_max,
        groups=data.groups,
        zero_signal_groups=progress.zero_signal_groups,
        dropped_groups=progress.dropped_groups,
        bad_groups=data.bad_groups,
        ungraded_groups=data.ungraded_groups,
        unused_groups=progress.unused_groups,
        replayed_groups=progress.replayed_groups,
        replay=progress.replay,
        skipped=progress.skipped,
        ended_at=progress.done + 1 if progress.ended_early and any_mini_batch else None,
        ended_early=progress.ended_early,
    )


def _facts(progress: UpdateProgress) -> Facts:
    return {
        "step": progress.step,
        "updates": len(progress.steps),
        "skipped": progress.skipped,
    }
