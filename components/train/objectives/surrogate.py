"""Surrogates: from log-probabilities and credit to a loss per token, whose gradient is the update.

Every function maps (logprobs_T, behaviour_logprobs_T, sequence_T, credit_N) to (loss_T, at_bound_T): the loss with
its gradient to `logprobs_T`, and the tokens where a bound has stopped or capped that gradient.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from components.train.objectives.ratios import LOG_RATIO_BOUND, importance_weights, sequence_log_ratio

Surrogate = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def log_likelihood(
    logprobs_T: Tensor,
    behaviour_logprobs_T: Tensor,  # noqa: ARG001
    sequence_T: Tensor,
    credit_N: Tensor,
) -> tuple[Tensor, Tensor]:
    """loss_it = -A_i log pi(y_it): the score-function gradient (Williams 1992). Nothing is bounded."""
    return -credit_N[sequence_T] * logprobs_T, torch.zeros_like(sequence_T, dtype=torch.bool)


def weighted_tokens(
    logprobs_T: Tensor,
    behaviour_logprobs_T: Tensor,
    sequence_T: Tensor,
    credit_N: Tensor,
    truncation: float | None,
) -> tuple[Tensor, Tensor]:
    """loss_it = -min(r_it, C) A_i log pi(y_it), r_it = pi(y_it) / mu(y_it), weight held constant.

    Token-level truncated importance sampling; with standardised credit and a mean over all tokens it is CISPO
    (arXiv 2506.13585, eq. 4 and 5, without a lower bound, as there).
    """
    weights_T = importance_weights((logprobs_T - behaviour_logprobs_T).detach(), truncation)
    at_bound_T = torch.zeros_like(sequence_T, dtype=torch.bool) if truncation is None else weights_T >= truncation
    return -weights_T * credit_N[sequence_T] * logprobs_T, at_bound_T


def clipped_tokens(
    logprobs_T: Tensor,
    behaviour_logprobs_T: Tensor,
    sequence_T: Tensor,
    credit_N: Tensor,
    clip: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """loss_it = -min(r_it A_i, clip(r_it, 1 - clip, 1 + clip_high) A_i), r_it = pi(y_it) / mu(y_it).

    The token-level surrogate of PPO (arXiv 1707.06347) and GRPO (arXiv 2402.03300); with clip_high > clip it is
    DAPO's clip-higher (arXiv 2503.14476). The ratio is taken against the stored behaviour log-probabilities.
    """
    ratio_T = (logprobs_T - behaviour_logprobs_T).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    return _clipped(ratio_T, credit_N[sequence_T], clip, clip_high)


def clipped_sequences(
    logprobs_T: Tensor,
    behaviour_logprobs_T: Tensor,
    sequence_T: Tensor,
    credit_N: Tensor,
    clip: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """loss_it = -min(s_i A_i, clip(s_i, 1 - clip, 1 + clip_high) A_i), s_i = (pi(y_i) / mu(y_i))^(1/|y_i|).

    GSPO (arXiv 2507.18071, eq. 5 to 7). Every token of a sequence has the sequence's loss, so that a mean over
    its tokens gives just that.
    """
    length_N = torch.bincount(sequence_T, minlength=len(credit_N))
    mean_N = sequence_log_ratio(logprobs_T, behaviour_logprobs_T, sequence_T, len(credit_N)) / length_N
    ratio_N = mean_N.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    loss_N, at_bound_N = _clipped(ratio_N, credit_N, clip, clip_high)
    return loss_N[sequence_T], at_bound_N[sequence_T]


def _clipped(ratio: Tensor, credit: Tensor, clip: float, clip_high: float) -> tuple[Tensor, Tensor]:
    free, bounded = ratio * credit, ratio.clamp(1.0 - clip, 1.0 + clip_high) * credit
    return -torch.minimum(free, bounded), bounded.detach() < free.detach()


def kl_to_reference(logprobs_T: Tensor, reference_logprobs_T: Tensor) -> Tensor:
    """exp(d) - 1 - d with d = log ref - log pi, per token: GRPO's KL term (arXiv 2402.03300, eq. 4).

    Unbiased under samples from pi; after many updates on samples from mu it is an approximation.
    """
    gap_T = (reference_logprobs_T - logprobs_T).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return gap_T.expm1() - gap_T
