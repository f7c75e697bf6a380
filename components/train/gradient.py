"""Loss and gradient of one mini-batch, whatever its micro-batches and processes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from components.contract.config import RunConfig
from components.train.batching import MiniBatch
from components.train.diagnostics import TokenMeans, TokenSums
from components.train.logprobs import Scorer
from components.train.microbatch import MicroBatch
from components.train.objectives import Objective, build_objective
from components.train.objectives.ratios import sequence_log_ratio
from components.train.objectives.surrogate import kl_to_reference
from components.train.processes import Processes


@dataclass(frozen=True)
class Terms:
    """What a mini-batch is trained on: the objective, and what a configuration adds to it.

    Attributes:
        cloning: coefficient of behaviour cloning on completions whose reward exceeds `cloning_threshold`, mean over
            their tokens.
        kl: coefficient of the KL to `reference`, normalised as the objective is.
        entropy: coefficient of the entropy bonus, mean over trained tokens.
        reference: the base policy; needed for `kl` only.
    """

    objective: Objective
    cloning: float = 0.0
    cloning_threshold: float = 0.5
    kl: float = 0.0
    entropy: float = 0.0
    reference: Scorer | None = None

    @classmethod
    def of(cls, config: RunConfig, reference: Scorer | None = None) -> "Terms":
        train = config.train
        return cls(
            build_objective(train.objective, config.rollout.max_tokens, train.cloning.threshold),
            train.cloning.coefficient,
            train.cloning.threshold,
            train.kl_coefficient,
            train.entropy_coefficient,
            reference,
        )


@dataclass(frozen=True)
class Evaluated:
    """A mini-batch after forward and backward; everything detached and over all processes.

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
    """Per sequence, what the loss of each of its tokens is multiplied by; 0 for masked sequences."""

    objective_N: Tensor
    entropy_N: Tensor
    cloning_N: Tensor

    @classmethod
    def of(cls, batch: MiniBatch, terms: Terms) -> "_Scales":
        trained_N = (batch.lengths_N > 0).to(torch.float32)
        verified_N = trained_N * (batch.rewards_N > terms.cloning_threshold)
        verified_tokens = (verified_N * batch.lengths_N).sum().clamp(min=1.0)
        return cls(
            trained_N * terms.objective.normalise(batch.lengths_N),
            terms.entropy * trained_N / batch.lengths_N.sum().clamp(min=1),
            terms.cloning * verified_N / verified_tokens,
        )


def accumulate(scorer: Scorer, batch: MiniBatch, terms: Terms, processes: Processes) -> Evaluated:
    """Add the mini-batch's gradient to the parameters'.

    Credit needs the log-ratios of whole groups. Where micro-batches hold whole groups it is computed on the way;
    where they do not, a forward pass over the mini-batch without gradient comes first.
    """
    objective, rewards_N, group_N = terms.objective, batch.rewards_N, batch.group_N
    credit_N = None
    if not batch.whole_groups:
        log_ratio_N = torch.zeros_like(rewards_N)
        if objective.credit_uses_ratio:
            log_ratio_N = _log_ratios(scorer, batch, processes)
        credit_N = objective.credit(log_ratio_N, rewards_N, group_N)
    scales = _Scales.of(batch, terms)
    loss = torch.zeros((), device=rewards_N.device)
    log_ratio_N = torch.zeros_like(rewards_N)
    sums = TokenSums(rewards_N.device)
    for micro, counts in zip(batch.micro_batches, batch.counted, strict=True):
        rows = micro.rows_N
        # FSDP averages gradients over processes, and every process has only its share of the sum.
        factor = processes.world if counts else 0.0
        foreseen = None
        if credit_N is not None and objective.token_local and not terms.kl:
            foreseen = _foresight(micro, credit_N[rows], scales, terms, factor)
        logprobs_T, entropy_T = scorer(micro, entropy_gradient=terms.entropy > 0, foreseen=foreseen)
        ratio_N = sequence_log_ratio(logprobs_T.detach(), micro.behaviour_logprobs_T, micro.sequence_T, len(rows))
        if credit_N is None:
            micro_credit_N = objective.credit(ratio_N, rewards_N[rows], group_N[rows])
        else:
            micro_credit_N = credit_N[rows]
        share, at_bound_T = _token_share(logprobs_T, slice(None), micro, micro_credit_N, scales, terms)
        share = share + _added_share(logprobs_T, entropy_T, micro, scales, terms)
        (share * factor).backward()  # type: ignore[no-untyped-call]
        if counts:
            loss += share.detach()
            log_ratio_N[rows] = ratio_N
            sums.add(logprobs_T.detach() - micro.behaviour_logprobs_T, entropy_T.detach(), at_bound_T)
    return Evaluated(processes.sum_(loss), processes.sum_(log_ratio_N), sums.over(processes))


def _foresight(
    micro: MicroBatch, credit_N: Tensor, scales: _Scales, terms: Terms, factor: float
) -> Callable[[Tensor, slice], Tensor]:
    """The gradient of the micro-batch's share of the loss by the log-probabilities of some of its tokens."""

    @torch.enable_grad()
    def gradient(logprobs_T: Tensor, part: slice) -> Tensor:
        logprobs_T = logprobs_T.detach().requires_grad_()
        share, _ = _token_share(logprobs_T, part, micro, credit_N, scales, terms)
        (found,) = torch.autograd.grad(share * factor, logprobs_T)
        return found

    return gradient


def _token_share(
    logprobs_T: Tensor, part: slice, micro: MicroBatch, credit_N: Tensor, scales: _Scales, terms: Terms
) -> tuple[Tensor, Tensor]:
    """What the objective and cloning add to the loss for the tokens `part`, and which of these are at a bound."""
    sequence_T = micro.sequence_T[part]
    loss_T, at_bound_T = terms.objective.surrogate(logprobs_T, micro.behaviour_logprobs_T[part], sequence_T, credit_N)
    share = (scales.objective_N[micro.rows_N][sequence_T] * loss_T).sum()
    if terms.cloning:
        share = share - (scales.cloning_N[micro.rows_N][sequence_T] * logprobs_T).sum()
    return share, at_bound_T


def _added_share(logprobs_T: Tensor, entropy_T: Tensor, micro: MicroBatch, scales: _Scales, terms: Terms) -> Tensor:
    """What KL and entropy add to the micro-batch's share of the loss."""

    def scaled(scale_N: Tensor, value_T: Tensor) -> Tensor:
        return (scale_N[micro.rows_N][micro.sequence_T] * value_T).sum()

    share = logprobs_T.new_zeros(())
    if terms.kl:
        assert terms.reference is not None
        with torch.no_grad():
            reference_T, _ = terms.reference(micro)
        share = share + terms.kl * scaled(scales.objective_N, kl_to_reference(logprobs_T, reference_T))
    if terms.entropy:
        share = share - scaled(scales.entropy_N, entropy_T)
    return share


@torch.no_grad()
def _log_ratios(scorer: Scorer, batch: MiniBatch, processes: Processes) -> Tensor:
    """log_ratio_N of the whole mini-batch."""
    log_ratio_N = torch.zeros_like(batch.rewards_N)
    for micro, counts in zip(batch.micro_batches, batch.counted, strict=True):
        logprobs_T, _ = scorer(micro)
        ratio_N = sequence_log_ratio(logprobs_T, micro.behaviour_logprobs_T, micro.sequence_T, len(micro.rows_N))
        if counts:
            log_ratio_N[micro.rows_N] = ratio_N
    return processes.sum_(log_ratio_N)
