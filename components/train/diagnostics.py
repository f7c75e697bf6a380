"""What a mini-batch tells about how far the policy has moved from the behaviour policy."""

from dataclasses import dataclass

import torch
from torch import Tensor

from components.train.objectives import LOG_RATIO_BOUND, importance_weights


@dataclass(frozen=True)
class OffPolicy:
    """Diagnostics of one mini-batch; the fields are those of `StepMetrics`."""

    effective_sample_share: float
    weight_mean: float
    clip_fraction: float
    log_ratio_mean: float
    log_ratio_p95: float
    log_ratio_max: float
    kl: float
    entropy: float


def effective_sample_share(log_ratio_N: Tensor, truncation: float | None) -> Tensor:
    """(sum w)^2 / (N sum w^2) of the truncated weights w, in (0, 1] (Kong 1992)."""
    weights_N = importance_weights(log_ratio_N.double(), truncation)
    return weights_N.sum().square() / (len(weights_N) * weights_N.square().sum())


def off_policy(
    log_ratio_N: Tensor,
    gap_T: Tensor,
    entropy_T: Tensor,
    at_bound_T: Tensor,
    truncation: float | None,
    clips_tokens: bool,
) -> OffPolicy:
    """Diagnostics from detached tensors.

    Args:
        log_ratio_N: log rho of every sequence, nats, not clamped.
        gap_T: log pi - log mu of every token.
        at_bound_T: tokens whose gradient clipping has stopped.
        truncation: the bound C on sequence weights.
        clips_tokens: whether `clip_fraction` counts tokens at their bound, else sequences at C.
    """
    weights_N = importance_weights(log_ratio_N, truncation)
    if clips_tokens:
        clipped = at_bound_T.float().mean()
    elif truncation is not None:
        clipped = (weights_N >= truncation).float().mean()
    else:
        clipped = torch.zeros(())
    # exp(d) - 1 - d under samples from mu: the k3 estimator of KL(mu || pi), never negative (Schulman 2020).
    bounded_T = gap_T.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    distance_N = log_ratio_N.abs()
    return OffPolicy(
        effective_sample_share=effective_sample_share(log_ratio_N, truncation).item(),
        weight_mean=weights_N.mean().item(),
        clip_fraction=clipped.item(),
        log_ratio_mean=distance_N.mean().item(),
        log_ratio_p95=distance_N.quantile(0.95).item(),
        log_ratio_max=distance_N.max().item(),
        kl=(bounded_T.expm1() - bounded_T).mean().item(),
        entropy=entropy_T.mean().item(),
    )
