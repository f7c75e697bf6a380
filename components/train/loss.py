"""Loss and gradient of one mini-batch; neither depends on how it is split over micro-batches and processes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from components.contract.config import RunConfig
from components.train.batching import MicroBatch, MiniBatch
from components.train.build_objective import build_objective
from components.train.diagnostics import TokenMeans, TokenSums
from components.train.distributed import Processes
from components.train.fused_head import KnownGradient
from components.train.logprobs import LogprobModel
from components.train.objectives import (
    Completions,
    Objective,
    Tokens,
    kl_to_guide,
    sequence_log_ratio,
    token_scales,
)


@dataclass(frozen=True)
class LossTerms:
    """The objective, and what a configuration adds to it.

    Attributes:
        max_tokens: `rollout.max_tokens`, for normalisation by a constant.
        cloning_coefficient: of behaviour cloning on verified completions, normalised as the objective is.
        cloning_threshold: a completion is verified when its reward exceeds it.
        guide_coefficient: of the KL to the guide, normalised as the objective is.
        entropy_coefficient: of the entropy bonus, mean over the tokens in the loss.
    """

    objective: Objective
    max_tokens: int
    cloning_coefficient: float = 0.0
    cloning_threshold: float = 0.5
    guide_coefficient: float = 0.0
    entropy_coefficient: float = 0.0

    @classmethod
    def from_config(cls, config: RunConfig) -> "LossTerms":
        train = config.train
        return cls(
            build_objective(train),
            config.rollout.max_tokens,
            train.cloning.coefficient,
            train.cloning.threshold,
            train.guide.coefficient if train.guide else 0.0,
            train.entropy_coefficient,
        )


@dataclass(frozen=True)
class MiniBatchLoss:
    """Results of forward and backward over a mini-batch, detached and over all processes.

    Attributes:
        loss: scalar.
        log_ratio_N: log rho, not clamped.
        tokens: means over completion tokens.
        guide_kl: scalar, the mean of log pi - log guide over completion tokens; None without a guide.
    """

    loss: Tensor
    log_ratio_N: Tensor
    tokens: TokenMeans
    guide_kl: Tensor | None


@dataclass(frozen=True)
class _Scales:
    """Factors of each term's loss per token, by sequence; 0 for masked sequences."""

    objective_N: Tensor
    entropy_N: Tensor

    @classmethod
    def of(cls, batch: MiniBatch, terms: LossTerms) -> "_Scales":
        in_loss_N = (batch.lengths_N > 0).to(torch.float32)
        return cls(
            in_loss_N * token_scales(terms.objective.normalisation, batch.lengths_N, terms.max_tokens),
            terms.entropy_coefficient * in_loss_N / batch.lengths_N.sum().clamp(min=1),
        )


def accumulate_gradient(
    policy: LogprobModel, batch: MiniBatch, terms: LossTerms, processes: Processes
) -> MiniBatchLoss:
    """Add the mini-batch's gradient to the parameters'.

    Advantages may need the log-ratios of whole groups. Where a micro-batch has whole groups, they follow from its own
    log-probabilities; for the others a forward pass without gradient comes first.
    """
    objective, rewards_N = terms.objective, batch.rewards_N
    completions = Completions(
        torch.zeros_like(rewards_N), rewards_N, batch.group_N, rewards_N > terms.cloning_threshold
    )
    if objective.uses_ratio and not all(batch.whole):
        # Where groups are whole these are not used.
        completions = completions.with_log_ratio(
            mini_batch_log_ratios(policy, batch, processes, [not w for w in batch.whole])
        )
    advantage_N = objective.advantage(completions)
    scales = _Scales.of(batch, terms)
    loss = torch.zeros((), device=rewards_N.device)
    guide_kl = torch.zeros_like(loss)
    log_ratio_N = torch.zeros_like(rewards_N)
    sums = TokenSums(rewards_N.device)
    for micro, is_counted, whole in zip(batch.micro_batches, batch.counted, batch.whole, strict=True):
        known_N = None if objective.uses_ratio and whole else advantage_N[micro.rows_N]
        micro_loss = _MicroBatchLoss(micro, known_N, completions.select(micro.rows_N), scales, terms)
        # FSDP averages gradients over processes, and every process has only its part of the sum.
        factor = processes.world_size if is_counted else 0.0
        logprobs_T, entropy_T = policy(
            micro, entropy_gradient=terms.entropy_coefficient > 0, known_gradient=micro_loss.known_gradient(factor)
        )
        total, at_bound_T = micro_loss.of(logprobs_T, slice(None))
        if terms.entropy_coefficient:
            total = total - (scales.entropy_N[micro.rows_N][micro.sequence_T] * entropy_T).sum()
        (total * factor).backward()
        if is_counted:
            loss += total.detach()
            log_ratio_N[micro.rows_N] = _log_ratio(logprobs_T.detach(), micro)
            sums.add(logprobs_T.detach() - micro.behaviour_logprobs_T, entropy_T.detach(), at_bound_T)
            if micro.guide_logprobs_T is not None:
                guide_kl += (logprobs_T.detach() - micro.guide_logprobs_T).sum()
    return MiniBatchLoss(
        processes.all_reduce(loss),
        processes.all_reduce(log_ratio_N),
        sums.means(processes),
        processes.all_reduce(guide_kl) / batch.completion_tokens if terms.guide_coefficient else None,
    )


class _MicroBatchLoss:
    """The loss of a micro-batch as a function of its log-probabilities, without the entropy bonus.

    Args:
        advantage_N: of the sequences of the micro-batch; None where it follows from the log-ratios of its groups.
        completions: of the micro-batch.
    """

    def __init__(
        self,
        micro: MicroBatch,
        advantage_N: Tensor | None,
        completions: Completions,
        scales: _Scales,
        terms: LossTerms,
    ) -> None:
        self._micro, self._advantage_N, self._completions, self._terms = micro, advantage_N, completions, terms
        self._objective_T = scales.objective_N[micro.rows_N][micro.sequence_T]
        self._verified_T = completions.verified_N[micro.sequence_T]

    def of(self, logprobs_T: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Return the loss of some tokens, and which of them are at a bound.

        Args:
            part: tokens whose loss depends on `logprobs_T` alone.
        """
        micro, terms = self._micro, self._terms
        advantage_N = self._advantage_N
        if advantage_N is None:
            ratio_N = _log_ratio(logprobs_T.detach(), micro, part)
            advantage_N = terms.objective.advantage(self._completions.with_log_ratio(ratio_N))
        tokens = Tokens(logprobs_T, micro.behaviour_logprobs_T[part], micro.sequence_T[part], advantage_N)
        loss_T, at_bound_T = terms.objective.surrogate(tokens)
        if terms.guide_coefficient:
            assert micro.guide_logprobs_T is not None
            loss_T = loss_T + terms.guide_coefficient * kl_to_guide(logprobs_T, micro.guide_logprobs_T[part])
        if terms.cloning_coefficient:
            loss_T = loss_T - terms.cloning_coefficient * self._verified_T[part] * logprobs_T
        return (self._objective_T[part] * loss_T).sum(), at_bound_T

    def known_gradient(self, factor: float) -> KnownGradient:
        """Return the gradient of `factor` times the loss, for the head."""

        @torch.enable_grad()
        def gradient(logprobs_T: Tensor, part: slice) -> Tensor:
            logprobs_T = logprobs_T.detach().requires_grad_()
            loss, _ = self.of(logprobs_T, part)
            (found,) = torch.autograd.grad(loss * factor, logprobs_T)
            return found

        alone = self._advantage_N is not None and self._terms.objective.token_local
        return KnownGradient(gradient, None if alone else self._micro.group_tokens)


def _log_ratio(logprobs_T: Tensor, micro: MicroBatch, part: slice = slice(None)) -> Tensor:
    """Return log_ratio_N of a micro-batch, of which only the sequences of the tokens `part` count."""
    return sequence_log_ratio(logprobs_T, micro.behaviour_logprobs_T[part], micro.sequence_T[part], len(micro.rows_N))


@torch.no_grad()
def mini_batch_log_ratios(
    policy: LogprobModel, batch: MiniBatch, processes: Processes, wanted: Sequence[bool]
) -> Tensor:
    """Return log_ratio_N of a mini-batch, nats, not clamped; 0 in the micro-batches that are not wanted."""
    log_ratio_N = torch.zeros_like(batch.rewards_N)
    for micro, is_counted, is_wanted in zip(batch.micro_batches, batch.counted, wanted, strict=True):
        if not is_wanted:
            continue
        logprobs_T, _ = policy(micro)
        if is_counted:
            log_ratio_N[micro.rows_N] = _log_ratio(logprobs_T, micro)
    return processes.all_reduce(log_ratio_N)
