"""One pass over an iteration's trajectories: k mini-batches, one optimizer step each."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import torch
from pydantic import BaseModel, ConfigDict

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.metrics import StepMetrics
from components.runtime.progress import StageProgress, note
from components.train.batching import MicroBatchLimits, MiniBatch, build_mini_batch, group_order, shape_rewards
from components.train.diagnostics import OffPolicy, off_policy
from components.train.gradient import Evaluated, Terms, accumulate
from components.train.logprobs import Scorer
from components.train.optimizer import learning_rate, set_learning_rate
from components.train.policy import is_packed
from components.train.processes import Processes
from components.train.provenance import check_gap
from components.train.sharding import full_tensor, trained_parameters
from components.train.trajectories import Trajectories


class Pass(BaseModel):
    """What a pass has come to; with weights and optimizer state it is all that continues one.

    Attributes:
        step: optimizer steps since the base policy.
        done: mini-batches dealt with, skipped ones included.
        gap_mean, gap_max: |log pi - log mu| per token, nats, of the first good mini-batch, before any update; where
            the trajectories are of an older policy, with that policy for pi, and measured before the pass.
        skipped: mini-batches left out because their loss or gradient was not finite.
        bad_in_a_row: of those, how many came last without one that was good.
        zero_signal_groups: groups whose rewards are all equal.
        dropped_groups: how many of them were left out.
        ended_early: why the pass stopped before its last mini-batch, which is `done + 1`.
    """

    model_config = ConfigDict(extra="forbid")
    step: int
    done: int = 0
    steps: list[StepMetrics] = []
    gap_mean: float | None = None
    gap_max: float | None = None
    skipped: int = 0
    bad_in_a_row: int = 0
    zero_signal_groups: int = 0
    dropped_groups: int = 0
    ended_early: str | None = None


def run_pass(
    scorer: Scorer,
    optimizer: torch.optim.AdamW,
    data: Trajectories,
    config: RunConfig,
    iteration: int,
    begun: Pass,
    processes: Processes,
    terms: Terms,
    checkpoint: Callable[[Pass], None] | None = None,
) -> Pass:
    """Update the policy in place.

    Args:
        begun: where to go on; `Pass(step=n)` begins after n optimizer steps since the base policy.
        checkpoint: called after every `train.checkpoint_every` mini-batches.

    Raises:
        InputError: too few groups; engine and trainer disagree about the first mini-batch; loss or gradient
            not finite again and again.
    """
    section = config.train
    limits = MicroBatchLimits(section.micro_batch_tokens, is_packed(scorer.model))
    data = shape_rewards(data, section.overlong)
    drop = section.zero_signal_groups == "drop"
    order = group_order(data, section.updates, section.mini_batch_prompts, drop, config.run.seed, iteration)
    result = begun.model_copy(
        update={"zero_signal_groups": order.without_signal, "dropped_groups": order.dropped}, deep=True
    )
    if not order.mini_batches:
        result.ended_early = "no group has completions with different rewards, so there is nothing to learn from"
        note(f"iteration {iteration}: {result.ended_early}")
    parameters = list(trained_parameters(scorer.model).values())
    rate_of_work = _Rate()
    with StageProgress(f"iteration {iteration:04d} train", len(order.mini_batches), "steps") as progress:
        for index, groups in enumerate(order.mini_batches[result.done :], start=result.done):
            began = time.perf_counter()
            batch = build_mini_batch(
                data,
                groups,
                limits,
                terms.objective.credit_uses_ratio,
                section.overlong.handling == "mask",
                processes,
            )
            optimizer.zero_grad()
            evaluated = accumulate(scorer, batch, terms, processes)
            norm = full_tensor(torch.nn.utils.clip_grad_norm_(parameters, section.max_grad_norm))
            if not (evaluated.loss + norm).isfinite():
                _count_bad(result, evaluated.loss, norm, section.max_bad_steps, len(order.mini_batches), iteration)
            else:
                result.bad_in_a_row = 0
                if result.gap_mean is None:
                    check_gap(evaluated.tokens, section.max_logprob_gap)
                    result.gap_mean, result.gap_max = evaluated.tokens.gap_mean, evaluated.tokens.gap_max
                measured = off_policy(
                    evaluated.log_ratio_N,
                    evaluated.tokens,
                    batch.lengths_N,
                    terms.objective.truncation,
                    terms.objective.bounds_tokens,
                )
                if reason := _too_far(measured, config):
                    result.ended_early = f"mini-batch {index + 1} of {len(order.mini_batches)}: {reason}"
                    note(f"iteration {iteration}: pass ended early at {result.ended_early}")
                    break
                rate = learning_rate(section, config.total_steps, result.step + 1)
                set_learning_rate(optimizer, rate)
                optimizer.step()
                result.step += 1
                seconds = time.perf_counter() - began
                result.steps.append(_metrics(result.step, seconds, rate, norm, batch, evaluated, measured))
                rate_of_work.add(batch.tokens, seconds)
            result.done = index + 1
            progress.update(result.done, str(rate_of_work))
            if checkpoint and result.done % section.checkpoint_every == 0 and result.done < len(order.mini_batches):
                checkpoint(result)
    return result


class _Rate:
    """Tokens per second since the pass began or went on."""

    def __init__(self) -> None:
        self._tokens, self._seconds = 0, 0.0

    def add(self, tokens: int, seconds: float) -> None:
        self._tokens, self._seconds = self._tokens + tokens, self._seconds + seconds

    def __str__(self) -> str:
        return f"{self._tokens / self._seconds:,.0f} tokens/s" if self._seconds else ""


def _metrics(
    step: int,
    seconds: float,
    rate: float,
    norm: torch.Tensor,
    batch: MiniBatch,
    evaluated: Evaluated,
    measured: OffPolicy,
) -> StepMetrics:
    return StepMetrics(
        step=step,
        finished=datetime.now(UTC),
        seconds=seconds,
        tokens=batch.completion_tokens,
        tokens_per_second=batch.tokens / seconds,
        learning_rate=rate,
        loss=evaluated.loss.item(),
        gradient_norm=norm.item(),
        reward=batch.rewards_N.mean().item(),
        **vars(measured),
    )


def _count_bad(
    result: Pass, loss: torch.Tensor, norm: torch.Tensor, most: int, mini_batches: int, iteration: int
) -> None:
    result.skipped += 1
    result.bad_in_a_row += 1
    note(f"mini-batch {result.done + 1}: loss {loss:.3g}, gradient norm {norm:.3g}: step skipped")
    if result.bad_in_a_row == min(most, mini_batches):
        raise InputError(
            f"iteration {iteration}: loss or gradient was not finite for {result.bad_in_a_row} mini-batches "
            "in a row; lower train.learning_rate, or use train.compute_dtype=float32"
        )


def _too_far(measured: OffPolicy, config: RunConfig) -> str | None:
    """Why the policy has moved too far from the behaviour policy for another step on its samples."""
    section = config.train
    share, kl = measured.effective_sample_share, measured.kl
    # Cloning is of the samples themselves, however far the policy has moved towards them.
    if share < section.min_effective_sample_share and section.objective.name != "sft":
        return (
            f"effective sample share {share:.3f} is below train.min_effective_sample_share "
            f"{section.min_effective_sample_share}"
        )
    if section.max_kl is not None and kl > section.max_kl:
        return f"KL(mu || pi) of {kl:.3g} nats a token exceeds train.max_kl {section.max_kl}"
    return None
