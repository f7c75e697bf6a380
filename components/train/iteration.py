"""One iteration's training: policy and trajectories in, the next policy and the resume state out."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from components.contract.layout import Round
from components.contract.manifest import Facts, Manifest, policy_digests
from components.contract.metrics import TrainMetrics
from components.runtime.clock import Clock
from components.train.checkpoint import load_checkpoint, load_state, save_checkpoint, save_state, upload_all
from components.train.diagnostics import TokenMeans, check_logprob_gap
from components.train.distributed import Processes
from components.train.policy import export_adapters, export_policy, full_state, vocabulary
from components.train.task import TrainTask
from components.train.trainer import (
    Trainer,
    UpdateProgress,
    build_trainer,
    keep_freed_memory,
    load_frozen,
    measure_behaviour_gap,
    update_policy,
)
from components.train.trajectories import Trajectories, read_trajectories

OPTIMIZER = "optimizer"
ADAPTER = "adapter"


def train_iteration(task: TrainTask, clock: Clock, processes: Processes) -> Manifest:
    """Train, upload and commit; every process of those that train together calls it."""
    keep_freed_memory()
    train = task.run.config.train
    with tempfile.TemporaryDirectory(prefix="rapid-train-") as name:
        scratch = Path(name)
        with clock.measure("store"):
            files = _fetch(task, scratch)
        gap = _check_behaviour_policy(task, scratch, clock, processes) if task.stale else None

        trainer, data, progress = _load(task, files, gap, clock, processes)
        save = (lambda reached: save_checkpoint(task, trainer, reached)) if train.checkpoint_every else None
        with clock.measure("compute"):
            progress = update_policy(trainer, data, task.iteration, progress, save)
        with clock.measure("store"):
            _upload_policy(task, trainer, files, scratch / "policy", scratch / "made" / ADAPTER)
            if processes.is_main:
                task.commit_policy({"outcome": "trained", **policy_digests(task.policy_output.files)}, clock)
            _upload_state(task, trainer, progress.step, scratch / "made")

        manifest = None
        if processes.is_main:
            manifest = task.commit(_metrics(task, data, progress), _facts(progress), clock)
            task.clear_checkpoints()
        manifest = processes.broadcast(manifest)
    assert manifest is not None
    return manifest


@dataclass(frozen=True)
class _Files:
    """Directories on this machine.

    Attributes:
        policy: the policy to train.
        base: the base policy, where adapters or the KL term need it.
        optimizer, adapter: of the previous iteration; None in the first, and without adapters.
    """

    policy: Path
    base: Path | None
    optimizer: Path | None
    adapter: Path | None


def _fetch(task: TrainTask, scratch: Path) -> _Files:
    train, later = task.run.config.train, task.iteration > 1
    before = task.run.directory(task.run.layout.train(task.iteration - 1))
    policy = task.run.fetch_policy(task.iteration - 1, scratch / "incoming")
    base = None
    if train.lora or train.kl_coefficient:
        base = task.run.fetch_policy(0, scratch / "base") if later else policy
    return _Files(
        policy=policy,
        base=base,
        optimizer=before.fetch(scratch / "carried", OPTIMIZER) if later else None,
        adapter=before.fetch(scratch / "adapter", ADAPTER) if later and train.lora else None,
    )


def _check_behaviour_policy(task: TrainTask, scratch: Path, clock: Clock, processes: Processes) -> TokenMeans | None:
    """Load the behaviour policy, compare it with its trajectories and release it.

    Raises:
        InputError: it cannot have sampled them.
    """
    config = task.run.config
    with clock.measure("store"):
        version = task.run.sampled_policy(Round.iteration(task.iteration))
        files = task.run.fetch_policy(version, scratch / "behaviour")
    with clock.measure("load"):
        behaviour = load_frozen(files, config, processes)
    with clock.measure("store"):
        data = read_trajectories(task.run, task.iteration, task.behaviour_manifest, vocabulary(behaviour.model))
    with clock.measure("compute"):
        gap = measure_behaviour_gap(behaviour, data, config, task.iteration, processes)
    if gap:
        check_logprob_gap(gap, config.train.max_logprob_gap)
    return gap


def _load(
    task: TrainTask, files: _Files, gap: TokenMeans | None, clock: Clock, processes: Processes
) -> tuple[Trainer, Trajectories, UpdateProgress]:
    """Load policy, optimizer and data, and the newest checkpoint within the iteration, where there is one."""
    config = task.run.config
    with clock.measure("load"):
        trainer = build_trainer(config, files.policy, processes, files.base, files.adapter)
        step = 0
        if files.optimizer:
            step = load_state(files.optimizer, trainer.policy.model, trainer.optimizer, processes)
    with clock.measure("store"):
        data = read_trajectories(task.run, task.iteration, task.behaviour_manifest, vocabulary(trainer.policy.model))
        progress = load_checkpoint(task, trainer) if config.train.checkpoint_every else None
    if progress is None:
        progress = UpdateProgress(
            step=step, gap_mean=gap.gap_mean if gap else None, gap_max=gap.gap_max if gap else None
        )
    return trainer, data, progress


def _upload_policy(task: TrainTask, trainer: Trainer, files: _Files, made: Path, adapter: Path) -> None:
    """Upload the next policy; adapters, merged into it, go to `adapter` on this machine."""
    config, processes = task.run.config, trainer.processes
    state = full_state(trainer.policy.model)
    if processes.is_main:
        if lora := config.train.lora:
            assert files.base is not None
            state = export_adapters(state, files.base, lora, config.model.path, adapter)
        names = [output.name for output in task.policy_manifest.outputs]
        export_policy(state, files.policy, names, made, config.model)
        task.policy_output.upload(made)


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
