"""A policy in training, and its updates on an iteration's trajectories: one mini-batch and optimizer step each."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from components.contract.config import RunConfig
from components.contract.digests import derive_seed
from components.contract.errors import InputError
from components.contract.metrics import ReplayMetrics, StepMetrics
from components.contract.train_config import SHARES_IN_MEAN
from components.runtime.progress import StageProgress, note
from components.train.batching import MicroBatchLimits, build_mini_batch
from components.train.diagnostics import (
    OffPolicyMetrics,
    TokenMeans,
    check_logprob_gap,
    effective_sample_share,
    off_policy,
)
from components.train.distributed import Processes, full_tensor, shard
from components.train.logprobs import LogprobModel
from components.train.loss import LossTerms, accumulate_gradient
from components.train.memory import release_models
from components.train.optimizer import build_optimizer, learning_rate, set_learning_rate
from components.train.order import order_mini_batches, shape_rewards
from components.train.policy import (
    add_adapters,
    compile_layers,
    decoder_layers,
    load_policy,
    takes_groups,
    trained_parameters,
)
from components.train.replay import Replayed, deal, measure_replayed
from components.train.scoring import log_ratios, measure_behaviour_gap
from components.train.trajectories import Trajectories


@dataclass(frozen=True)
class Trainer:
    """A policy with its loss and optimizer, in this process."""

    config: RunConfig
    policy: LogprobModel
    terms: LossTerms
    optimizer: torch.optim.AdamW
    processes: Processes


class UpdateProgress(BaseModel):
    """Progress of an iteration's updates; with weights and optimizer state, everything needed to resume.

    Attributes:
        step: optimizer steps since the base policy.
        done: mini-batches processed, skipped ones included.
        gap_mean, gap_max: |log pi - log mu| per token, nats, of the first good mini-batch, before any update; for
            stale trajectories, pi is the behaviour policy, loaded in the trainer.
        shares: effective sample shares of the newest mini-batches, without their replayed groups.
        replay: measurements of replayed groups before any update; `replayed` numbers those that are not left out.
        replayed_groups: those of them in the mini-batches processed so far.
        skipped: mini-batches left out because their loss or gradient was not finite.
        bad_in_a_row: consecutive skipped mini-batches so far.
        zero_signal_groups: groups whose rewards are all equal.
        dropped_groups: those of them that were left out.
        unused_groups: those in none of the mini-batches processed so far, nor dropped.
        ended_early: why the updates stopped early, at mini-batch `done + 1`.
    """

    model_config = ConfigDict(extra="forbid")
    step: int
    done: int = 0
    steps: list[StepMetrics] = []
    gap_mean: float | None = None
    gap_max: float | None = None
    shares: list[float] = []
    replay: tuple[ReplayMetrics, ...] = ()
    replayed: list[int] | None = None
    replayed_groups: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    zero_signal_groups: int = 0
    dropped_groups: int = 0
    unused_groups: int = 0
    ended_early: str | None = None


def build_trainer(
    config: RunConfig, policy: Path, processes: Processes, base: Path | None = None, adapter: Path | None = None
) -> Trainer:
    """Load a policy with a fresh optimizer.

    Args:
        policy: in Hugging Face format.
        base: the base policy, which adapters need.
        adapter: adapters to go on with, in peft's format.

    Raises:
        InputError: the policy cannot be loaded, or the configuration does not fit it.
    """
    train = config.train
    if train.lora:
        assert base is not None
        model = load_policy(base, train, processes.device, weights_dtype(config))
        add_adapters(model, train.lora, adapter, derive_seed(config.run.seed, "adapters"))
    else:
        model = load_policy(policy, train, processes.device, weights_dtype(config))
    logprob_model = build_logprob_model(model, config)
    if train.compile:
        compile_layers(model)
    shard(logprob_model, decoder_layers(model), processes)
    terms = LossTerms.from_config(config)
    return Trainer(config, logprob_model, terms, build_optimizer(model, train), processes)


def move_trainer(trainer: Trainer, device: torch.device) -> None:
    """Move weights and optimizer state to a device, in place, and give up the memory they had."""
    trainer.optimizer.zero_grad()
    trainer.policy.to(device)
    for state in trainer.optimizer.state.values():
        state.update({name: value.to(device) for name, value in state.items() if isinstance(value, torch.Tensor)})
    release_models()


def weights_dtype(config: RunConfig) -> torch.dtype:
    """Return the dtype of the trainer's weights but for adapters: frozen ones need no float32 copy."""
    return getattr(torch, config.train.compute_dtype) if config.train.lora else torch.float32


def build_logprob_model(model: torch.nn.Module, config: RunConfig) -> LogprobModel:
    train = config.train
    dtype = getattr(torch, train.compute_dtype)
    return LogprobModel(model, config.rollout.temperature, train.logprob_chunk, dtype, train.logprobs)


def load_frozen(
    directory: Path, config: RunConfig, processes: Processes, dtype: torch.dtype | None = None
) -> LogprobModel:
    """Load a model that is not trained, with weights in `dtype`, or in that of the trainer's weights."""
    model = load_policy(directory, config.train, processes.device, dtype or weights_dtype(config))
    frozen = build_logprob_model(model, config)
    frozen.requires_grad_(False)
    shard(frozen, decoder_layers(model), processes)
    return frozen


def update_policy(
    trainer: Trainer,
    data: Trajectories,
    iteration: int,
    start: UpdateProgress,
    checkpoint: Callable[[UpdateProgress], None] | None = None,
    replayed: Replayed | None = None,
) -> UpdateProgress:
    """Take the optimizer steps of an iteration, in place.

    Args:
        start: where to go on; `UpdateProgress(step=n)` after n optimizer steps since the base policy.
        checkpoint: called after every `train.checkpoint_every` mini-batches.
        replayed: groups of earlier iterations to add to the mini-batches.

    Raises:
        InputError: too few groups; engine and trainer disagree about the first mini-batch; loss or gradient not
            finite in too many mini-batches.
    """
    config, train = trainer.config, trainer.config.train
    data = shape_rewards(data, train.overlong)
    order = order_mini_batches(data, config, iteration)
    mini_batches, total, own = order.mini_batches, len(order.mini_batches), data.groups
    counts = {"zero_signal_groups": order.zero_signal_groups, "dropped_groups": order.dropped}
    progress = start.model_copy(update=counts, deep=True)
    if replayed and total:
        if progress.replayed is None:
            _score(trainer, data, mini_batches[0], replayed.first(total * config.replayed_groups), progress)
        assert progress.replayed is not None
        mini_batches = deal(mini_batches, own, progress.replayed, config.replayed_groups)
        data = data.followed_by(replayed.data)
    if not total:
        progress.ended_early = "no group has completions with different rewards, so there is nothing to learn from"
        note(f"iteration {iteration}: {progress.ended_early}")
    throughput = _Throughput()
    with StageProgress(f"iteration {iteration:04d} train", total, "steps") as bar:
        for index in range(progress.done, total):
            if reason := _update(trainer, data, mini_batches[index], own, progress, throughput):
                progress.ended_early = f"mini-batch {index + 1} of {total}: {reason}"
                note(f"iteration {iteration}: updates ended early at {progress.ended_early}")
                bar.end(progress.done, str(throughput))
                break
            if progress.bad_in_a_row == min(train.max_bad_steps, total):
                raise InputError(
                    f"iteration {iteration}: loss or gradient was not finite for {progress.bad_in_a_row} mini-batches "
                    "in a row; lower train.learning_rate, or use train.compute_dtype=float32"
                )
            progress.done = index + 1
            bar.update(progress.done, str(throughput))
            if checkpoint and progress.done % train.checkpoint_every == 0 and progress.done < total:
                checkpoint(progress)
    taken, new = (sum(map(len, some[: progress.done])) for some in (mini_batches, order.mini_batches))
    progress.replayed_groups, progress.unused_groups = taken - new, own - order.dropped - new
    return progress


def _score(
    trainer: Trainer, data: Trajectories, first: np.ndarray, replayed: Replayed, progress: UpdateProgress
) -> None:
    """Measure replayed groups before the first update, and the gap of the first mini-batch before they join it."""
    config, processes = trainer.config, trainer.processes
    assert config.loop.replay is not None
    if progress.gap_mean is None:
        _check_gap(measure_behaviour_gap(trainer.policy, data, first, config, processes), config, progress)
    ratios = log_ratios(trainer.policy, replayed.data, config, processes)
    kept, measured = measure_replayed(replayed, ratios, config.loop.replay, trainer.terms.objective.truncation)
    progress.replayed, progress.replay = kept, tuple(measured)
    if (left_out := replayed.data.groups - len(kept)) and processes.is_main:
        note(f"{left_out} of {replayed.data.groups} replayed groups left out by loop.replay.min_weight")


def _check_gap(gap: TokenMeans, config: RunConfig, progress: UpdateProgress) -> None:
    check_logprob_gap(gap, config.max_logprob_gap)
    progress.gap_mean, progress.gap_max = gap.gap_mean, gap.gap_max


def _update(
    trainer: Trainer,
    data: Trajectories,
    groups: np.ndarray,
    own: int,
    progress: UpdateProgress,
    throughput: "_Throughput",
) -> str | None:
    """Try one update and record it in `progress`; return why the iteration must end instead, or None.

    A step whose loss or gradient is not finite is skipped. Groups numbered from `own` on are replayed.
    """
    config, train, objective = trainer.config, trainer.config.train, trainer.terms.objective
    began = time.perf_counter()
    limits = MicroBatchLimits(train.micro_batch_tokens, takes_groups(trainer.policy.model))
    masked = train.overlong.handling == "mask"
    batch = build_mini_batch(data, groups, limits, trainer.processes, mask_truncated=masked)
    trainer.optimizer.zero_grad()
    result = accumulate_gradient(trainer.policy, batch, trainer.terms, trainer.processes)
    parameters = trained_parameters(trainer.policy.model).values()
    norm = full_tensor(torch.nn.utils.clip_grad_norm_(parameters, train.max_grad_norm))
    if not (result.loss + norm).isfinite():
        progress.skipped += 1
        progress.bad_in_a_row += 1
        note(f"mini-batch {progress.done + 1}: loss {result.loss:.3g}, gradient norm {norm:.3g}: step skipped")
        return None
    progress.bad_in_a_row = 0
    if progress.gap_mean is None:
        _check_gap(result.tokens, config, progress)
    measured = off_policy(
        result.log_ratio_N, result.tokens, batch.lengths_N, objective.truncation, objective.bounds_tokens
    )
    own_N = result.log_ratio_N[: int((groups < own).sum()) * data.group_size]
    if reason := _too_far(trainer, progress, measured, own_N):
        return reason
    progress.step += 1
    rate = learning_rate(train, config.total_steps, progress.step)
    set_learning_rate(trainer.optimizer, rate)
    trainer.optimizer.step()
    seconds = time.perf_counter() - began
    throughput.add(batch.tokens, seconds)
    progress.steps.append(
        StepMetrics(
            step=progress.step,
            finished=datetime.now(UTC),
            seconds=seconds,
            tokens=batch.completion_tokens,
            tokens_per_second=batch.tokens / seconds,
            learning_rate=rate,
            loss=result.loss.item(),
            gradient_norm=norm.item(),
            reward=batch.rewards_N.mean().item(),
            guide_kl=None if result.guide_kl is None else result.guide_kl.item(),
            **vars(measured),
        )
    )
    return None


def _too_far(trainer: Trainer, progress: UpdateProgress, measured: OffPolicyMetrics, own_N: torch.Tensor) -> str | None:
    """Return why the policy is too far from the behaviour policy for another step on its samples; None if it is not.

    Args:
        own_N: log rho of the mini-batch's sequences, without replayed ones: they say nothing about how far this
            iteration's samples are used up.
    """
    train, objective = trainer.config.train, trainer.terms.objective
    newest = effective_sample_share(own_N, objective.truncation).item()
    progress.shares = [*progress.shares, newest][-SHARES_IN_MEAN:]
    share = fmean(progress.shares)
    if share < train.updates.until_share and not objective.clones:
        return (
            f"effective sample share {share:.3f}, mean of {len(progress.shares)} mini-batches, is below "
            f"train.updates.until_share {train.updates.until_share}"
        )
    if train.max_kl is not None and measured.kl > train.max_kl:
        return f"KL(mu || pi) of {measured.kl:.3g} nats per token exceeds train.max_kl {train.max_kl}"
    return None


class _Throughput:
    """Tokens per second of the updates in this process."""

    def __init__(self) -> None:
        self._tokens, self._seconds = 0, 0.0

    def add(self, tokens: int, seconds: float) -> None:
        self._tokens, self._seconds = self._tokens + tokens, self._seconds + seconds

    def __str__(self) -> str:
        return f"{self._tokens / self._seconds:,.0f} tokens/s" if self._seconds else ""
