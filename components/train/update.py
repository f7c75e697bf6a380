"""One pass over an iteration's trajectories: k mini-batches, one optimiser step each."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch
from torch import nn

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.metrics import StepMetrics
from components.runtime.progress import StageProgress, note
from components.train.batching import MiniBatch, build_mini_batch, group_order
from components.train.diagnostics import off_policy
from components.train.gradient import Evaluated, Forward, accumulate
from components.train.objectives import build_objective
from components.train.optimiser import learning_rate, set_learning_rate
from components.train.trajectories import Trajectories

_SKIPS_IN_A_ROW = 3


@dataclass
class Pass:
    """What a pass came to.

    Attributes:
        step: optimiser steps since the base policy.
        gap_mean, gap_max: |log pi - log mu| per token, nats, of the first mini-batch before any update.
        skipped: mini-batches left out because their loss or gradient was not finite.
    """

    step: int
    steps: list[StepMetrics] = field(default_factory=list)
    gap_mean: float = 0.0
    gap_max: float = 0.0
    skipped: int = 0
    ended_early: str | None = None


def run_pass(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: Trajectories,
    config: RunConfig,
    iteration: int,
    step: int,
) -> Pass:
    """Update `model` in place.

    Args:
        step: optimiser steps already taken since the base policy.

    Raises:
        InputError: too few groups; engine and trainer disagree about the first mini-batch; loss or gradient
            not finite again and again.
    """
    section = config.train
    device = next(model.parameters()).device
    objective = build_objective(section.objective)
    forward = Forward(config.rollout.temperature, section.logprob_chunk, getattr(torch, section.compute_dtype))
    order = group_order(data.groups, section.updates, section.mini_batch_prompts, config.run.seed, iteration)
    result = Pass(step)
    skipped_in_a_row = 0
    tokens, seconds = 0, 0.0
    with StageProgress(f"iteration {iteration:04d} train", len(order), "steps") as progress:
        for index, groups in enumerate(order):
            began = time.perf_counter()
            batch = build_mini_batch(data, groups, section.micro_batch_tokens, objective.credit_uses_ratio, device)
            optimiser.zero_grad()
            evaluated = accumulate(model, batch, objective, forward)
            if index == 0:
                result.gap_mean, result.gap_max = _check_gap(evaluated, section.max_logprob_gap)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), section.max_grad_norm)
            if not (evaluated.loss + norm).isfinite():
                result.skipped += 1
                skipped_in_a_row += 1
                note(f"mini-batch {index + 1}: loss {evaluated.loss:.3g}, gradient norm {norm:.3g}: step skipped")
                if skipped_in_a_row == min(_SKIPS_IN_A_ROW, len(order)):
                    raise InputError(
                        f"iteration {iteration}: loss or gradient was not finite for {skipped_in_a_row} mini-batches "
                        "in a row; lower train.learning_rate, or use train.compute_dtype=float32"
                    )
                continue
            skipped_in_a_row = 0
            measured = off_policy(
                evaluated.log_ratio_N,
                evaluated.gap_T,
                evaluated.entropy_T,
                evaluated.at_bound_T,
                section.objective.truncation,
                objective.clips_tokens,
            )
            share = measured.effective_sample_share
            if share < section.min_effective_sample_share:
                result.ended_early = (
                    f"effective sample share {share:.3f} of mini-batch {index + 1} of {len(order)} is below "
                    f"train.min_effective_sample_share {section.min_effective_sample_share}"
                )
                note(f"iteration {iteration}: pass ended early: {result.ended_early}")
                break
            rate = learning_rate(section, config.total_steps, result.step + 1)
            set_learning_rate(optimiser, rate)
            optimiser.step()
            result.step += 1
            elapsed = time.perf_counter() - began
            tokens, seconds = tokens + batch.tokens, seconds + elapsed
            result.steps.append(
                StepMetrics(
                    step=result.step,
                    finished=datetime.now(UTC),
                    seconds=elapsed,
                    tokens=len(evaluated.gap_T),
                    tokens_per_second=batch.tokens / elapsed,
                    learning_rate=rate,
                    loss=evaluated.loss.item(),
                    gradient_norm=norm.item(),
                    reward=_mean_reward(batch),
                    **vars(measured),
                )
            )
            progress.update(index + 1, f"{tokens / seconds:,.0f} tokens/s")
    return result


def _mean_reward(batch: MiniBatch) -> float:
    return batch.rewards_N.mean().item()


def _check_gap(evaluated: Evaluated, limit: float) -> tuple[float, float]:
    """Before the first update the policy is the behaviour policy, so log pi - log mu is nearly 0."""
    gap_T = evaluated.gap_T.abs()
    mean, largest = gap_T.mean().item(), gap_T.max().item()
    if not mean <= limit:
        raise InputError(
            f"engine and trainer disagree by {mean:.3g} nats a token (at most {largest:.3g}), more than "
            f"train.max_logprob_gap {limit}: the rollout engine had other weights, another tokenizer, template "
            "or temperature than this policy; sample again with it"
        )
    return mean, largest
