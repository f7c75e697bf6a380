"""Loss and gradient of one mini-batch; neither depends on how it is split over micro-batches and processes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from components.contract.config import RunConfig
from components.train.batching import MicroBatch, MiniBatch
from components.train.build_objective import build_objective
from components.train.diagnostics import TokenMeans, TokenSums
from components.train.distributed import Processes
from components.train.logprobs import LogprobModel
from components.train.objectives import (
    Completions,
    Objective,
    Tokens,
    kl_to_reference,
    sequence_log_ratio,
    token_scales,
)


@dataclass(frozen=True)
class LossTerms:
    """The objective, and what a configuration adds to it.

    Attributes:
        max_tokens: `rollout.max_tokens`, for normalisation by a constant.
        cloning_coefficient: of behaviour cloning on verified completions, mean over their tokens.
        cloning_threshold: a completion is verified when its reward exceeds it.
        kl_coefficient: of the KL to `reference`, normalised as the objective is.
        entropy_coefficient: of the entropy bonus, mean over the tokens in the loss.
        reference: the base policy; needed for the KL only.
    """

    objective: Objective
    max_tokens: int
    cloning_coefficient: float = 0.0
    cloning_threshold: float = 0.5
    kl_coefficient: float = 0.0
    entropy_coefficient: float = 0.0
    reference: LogprobModel | None = None

    @classmethod
    def from_config(cls, config: RunConfig, reference: LogprobModel | None = None) -> "LossTerms":
        train = config.train
        return cls(
            build_objective(train),
            config.rollout.max_tokens,
            train.cloning.coefficient,
            train.cloning.threshold,
            train.kl_coefficient,
            train.entropy_coefficient,
            reference,
        )


@dataclass(frozen=True)
class MiniBatchLoss:
    """Results of forward and backward over a mini-batch, detached and over all processes.

    Attributes:
        loss: scalar.
        log_ratio_N: log rho, not clamped.
        tokens: means over completion tokens.
    """

    loss: Tensor
    log_ratio_N: Tensor
    tokens: TokenMeans


@dataclass(frozen=True)
class _Scales:
    """Factors of each term's loss per token, by sequence; 0 for masked sequences."""

    objective_N: Tensor
    entropy_N: Tensor
    cloning_N: Tensor

    @classmethod
    def of(cls, batch: MiniBatch, verified_N: Tensor, terms: LossTerms) -> "_Scales":
        in_loss_N = (batch.lengths_N > 0).to(torch.float32)
        cloned_N = in_loss_N * verified_N
        cloned_tokens = (cloned_N * batch.lengths_N).sum().clamp(min=1.0)
        return cls(
            in_loss_N * token_scales(terms.objective.normalisation, batch.lengths_N, terms.max_tokens),
            terms.entropy_coefficient * in_loss_N / batch.lengths_N.sum().clamp(min=1),
            terms.cloning_coefficient * cloned_N / cloned_tokens,
        )


def accumulate_gradient(
    policy: LogprobModel, batch: MiniBatch, terms: LossTerms, processes: Processes
) -> MiniBatchLoss:
    """Add the mini-batch's gradient to the parameters'.

    Advantages need the log-ratios of whole groups. Where micro-batches hold whole groups, advantages are computed from
    their own log-probabilities; elsewhere a forward pass over the mini-batch without gradient comes first.
    """
    objective, rewards_N = terms.objective, batch.rewards_N
    completions = Completions(
        torch.zeros_like(rewards_N), rewards_N, batch.group_N, rewards_N > terms.cloning_threshold
    )
    advantage_N = None
    if not batch.whole_groups:
        if objective.uses_ratio:
            completions = completions.with_log_ratio(_log_ratios(policy, batch, processes))
        advantage_N = objective.advantage(completions)
    scales = _Scales.of(batch, completions.verified_N, terms)
    loss = torch.zeros((), device=rewards_N.device)
    log_ratio_N = torch.zeros_like(rewards_N)
    sums = TokenSums(rewards_N.device)
    for micro, is_counted in zip(batch.micro_batches, batch.counted, strict=True):
        rows = micro.rows_N
        # FSDP averages gradients over processes, and every process has only its part of the sum.
        factor = processes.world_size if is_counted else 0.0
        known = None
        if advantage_N is not None and objective.token_local and not terms.kl_coefficient:
            known = _known_gradient(micro, advantage_N[rows], scales, terms, factor)
        logprobs_T, entropy_T = policy(micro, entropy_gradient=terms.entropy_coefficient > 0, known_gradient=known)
        ratio_N = sequence_log_ratio(logprobs_T.detach(), micro.behaviour_logprobs_T, micro.sequence_T, len(rows))
        if advantage_N is None:
            micro_advantage_N = objective.advantage(completions.select(rows).with_log_ratio(ratio_N))
        else:
            micro_advantage_N = advantage_N[rows]
        micro_loss, at_bound_T = _token_terms(logprobs_T, slice(None), micro, micro_advantage_N, scales, terms)
        micro_loss = micro_loss + _kl_and_entropy(logprobs_T, entropy_T, micro, scales, terms)
        (micro_loss * factor).backward()
        if is_counted:
            loss += micro_loss.detach()
            log_ratio_N[rows] = ratio_N
            sums.add(logprobs_T.detach() - micro.behaviour_logprobs_T, entropy_T.detach(), at_bound_T)
    return MiniBatchLoss(processes.all_reduce(loss), processes.all_reduce(log_ratio_N), sums.means(processes))


def _known_gradient(
    micro: MicroBatch, advantage_N: Tensor, scales: _Scales, terms: LossTerms, factor: float
) -> Callable[[Tensor, slice], Tensor]:
    """Return the function for the loss's gradient with respect to the log-probabilities of a slice of tokens."""

    @torch.enable_grad()
    def gradient(logprobs_T: Tensor, part: slice) -> Tensor:
        logprobs_T = logprobs_T.detach().requires_grad_()
        loss, _ = _token_terms(logprobs_T, part, micro, advantage_N, scales, terms)
        (found,) = torch.autograd.grad(loss * factor, logprobs_T)
        return found

    return gradient


def _token_terms(
    logprobs_T: Tensor, part: slice, micro: MicroBatch, advantage_N: Tensor, scales: _Scales, terms: LossTerms
) -> tuple[Tensor, Tensor]:
    """Return the loss of the objective and of cloning for the tokens `part`, and which of these are at a bound."""
    sequence_T = micro.sequence_T[part]
    tokens = Tokens(logprobs_T, micro.behaviour_logprobs_T[part], sequence_T, advantage_N)
    loss_T, at_bound_T = terms.objective.surrogate(tokens)
    loss = (scales.objective_N[micro.rows_N][sequence_T] * loss_T).sum()
    if terms.cloning_coefficient:
        loss = loss - (scales.cloning_N[micro.rows_N][sequence_T] * logprobs_T).sum()
    return loss, at_bound_T


def _kl_and_entropy(
    logprobs_T: Tensor, entropy_T: Tensor, micro: MicroBatch, scales: _Scales, terms: LossTerms
) -> Tensor:
    """Return the loss of the KL and entropy terms over a micro-batch."""

    def scaled(scale_N: Tensor, value_T: Tensor) -> Tensor:
        return (scale_N[micro.rows_N][micro.sequence_T] * value_T).sum()

    loss = logprobs_T.new_zeros(())
    if terms.kl_coefficient:
        assert terms.reference is not None
        with torch.no_grad():
            reference_T, _ = terms.reference(micro)
        loss = loss + terms.kl_coefficient * scaled(scales.objective_N, kl_to_reference(logprobs_T, reference_T))
    if terms.entropy_coefficient:
        loss = loss - scaled(scales.entropy_N, entropy_T)
    return loss


@torch.no_grad()
def _log_ratios(policy: LogprobModel, batch: MiniBatch, processes: Processes) -> Tensor:
    """Return log_ratio_N of the whole mini-batch."""
    log_ratio_N = torch.zeros_like(batch.rewards_N)
    for micro, is_counted in zip(batch.micro_batches, batch.counted, strict=True):
        logprobs_T, _ = policy(micro)
        ratio_N = sequence_log_ratio(logprobs_T, micro.behaviour_logprobs_T, micro.sequence_T, len(micro.rows_N))
        if is_counted:
            log_ratio_N[micro.rows_N] = ratio_N
    return processes.all_reduce(log_ratio_N)
