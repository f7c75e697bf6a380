"""Loss and gradient of one mini-batch, whatever its micro-batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from components.train.batching import MicroBatch, MiniBatch
from components.train.logprobs import completion_logprobs
from components.train.objectives import Objective, sequence_log_ratio


@dataclass(frozen=True)
class Forward:
    """How log-probabilities are computed.

    Attributes:
        temperature: the sampling temperature.
        chunk: completion tokens whose logits exist at a time.
        compute_dtype: autocast of matrix products; weights stay float32.
    """

    temperature: float
    chunk: int
    compute_dtype: torch.dtype

    def __call__(self, model: nn.Module, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """logprobs_T and entropy_T of a micro-batch, float32."""
        mixed = self.compute_dtype != torch.float32
        with torch.autocast(batch.input_ids_BT.device.type, self.compute_dtype, enabled=mixed):
            return completion_logprobs(model, batch, self.temperature, self.chunk)


@dataclass(frozen=True)
class Evaluated:
    """A mini-batch after forward and backward; everything detached.

    Attributes:
        loss: scalar, (1/N) sum_i loss_i.
        log_ratio_N: log rho, not clamped.
        gap_T: log pi - log mu of every completion token, in the order of the micro-batches.
        entropy_T, at_bound_T: in the same order.
    """

    loss: Tensor
    log_ratio_N: Tensor
    gap_T: Tensor
    entropy_T: Tensor
    at_bound_T: Tensor


def accumulate(model: nn.Module, batch: MiniBatch, objective: Objective, forward: Forward) -> Evaluated:
    """Add the mini-batch's gradient to the parameters'.

    Credit needs the log-ratios of whole groups. Where micro-batches hold whole groups it is computed on the way;
    where they do not, a forward pass over the mini-batch without gradient comes first.
    """
    rewards_N, group_N = batch.rewards_N, batch.group_N
    credit_N = None
    if not batch.whole_groups:
        log_ratio_N = torch.zeros_like(rewards_N)
        if objective.credit_uses_ratio:
            log_ratio_N = _log_ratios(model, batch, forward)
        credit_N = objective.credit(log_ratio_N, rewards_N, group_N)
    loss = torch.zeros((), device=rewards_N.device)
    log_ratio_N = torch.zeros_like(rewards_N)
    gaps, entropies, bounds = [], [], []
    for micro in batch.micro_batches:
        rows = micro.rows_N
        logprobs_T, entropy_T = forward(model, micro)
        gap_T = logprobs_T.detach() - micro.behaviour_logprobs_T
        log_ratio_N[rows] = sequence_log_ratio(
            logprobs_T.detach(), micro.behaviour_logprobs_T, micro.sequence_T, len(rows)
        )
        if credit_N is None:
            credit = objective.credit(log_ratio_N[rows], rewards_N[rows], group_N[rows])
        else:
            credit = credit_N[rows]
        loss_N, at_bound_T = objective.surrogate(logprobs_T, micro.behaviour_logprobs_T, micro.sequence_T, credit)
        share = loss_N.sum() / len(rewards_N)
        share.backward()  # type: ignore[no-untyped-call]
        loss += share.detach()
        gaps.append(gap_T)
        entropies.append(entropy_T)
        bounds.append(at_bound_T)
    return Evaluated(loss, log_ratio_N, *(_cat(parts) for parts in (gaps, entropies, bounds)))


def _log_ratios(model: nn.Module, batch: MiniBatch, forward: Forward) -> Tensor:
    log_ratio_N = torch.zeros_like(batch.rewards_N)
    with torch.no_grad():
        for micro in batch.micro_batches:
            logprobs_T, _ = forward(model, micro)
            log_ratio_N[micro.rows_N] = sequence_log_ratio(
                logprobs_T, micro.behaviour_logprobs_T, micro.sequence_T, len(micro.rows_N)
            )
    return log_ratio_N


def _cat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts))
