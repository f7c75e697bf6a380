"""Distance of the policy from the behaviour policy, measured on a mini-batch."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from components.contract.errors import InputError
from components.train.distributed import Processes
from components.train.objectives import LOG_RATIO_BOUND, importance_weights


@dataclass(frozen=True)
class OffPolicyMetrics:
    """Diagnostics of one mini-batch; the fields are those of `StepMetrics`."""

    effective_sample_share: float
    weight_mean: float
    chi_squared: float
    clip_fraction: float
    mask_fraction: float
    log_ratio_mean: float
    log_ratio_p50: float
    log_ratio_p95: float
    log_ratio_p99: float
    log_ratio_max: float
    kl: float
    kl_k1: float
    entropy: float


class TokenSums:
    """Sums over completion tokens of all micro-batches and processes."""

    def __init__(self, device: torch.device) -> None:
        # tokens, |gap|, gap, k3, entropy, at a bound
        self._sums = torch.zeros(6, dtype=torch.float64, device=device)
        self._largest = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, gap_T: Tensor, entropy_T: Tensor, at_bound_T: Tensor) -> None:
        """Add the tokens of one micro-batch; `gap_T` is log pi - log mu, all tensors detached."""
        bounded_T = gap_T.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
        parts = (torch.ones_like(gap_T), gap_T.abs(), gap_T, bounded_T.expm1() - bounded_T, entropy_T, at_bound_T)
        self._sums += torch.stack([part.double().sum() for part in parts])
        self._largest = torch.maximum(self._largest, gap_T.abs().max().double())

    def means(self, processes: Processes) -> "TokenMeans":
        """Return the means over all processes, which all have to call it."""
        sums = processes.all_reduce(self._sums).tolist()
        largest = processes.all_reduce(self._largest, dist.ReduceOp.MAX).item()
        tokens, *means = sums[0], *(value / sums[0] for value in sums[1:])
        absolute, signed, k3, entropy, bound = means
        return TokenMeans(int(tokens), absolute, largest, -signed, k3, entropy, bound)


@dataclass(frozen=True)
class TokenMeans:
    """Means over the completion tokens of a mini-batch.

    Attributes:
        gap_mean, gap_max: |log pi - log mu|, nats.
        kl_k1, kl_k3: estimates of KL(mu || pi) from mu's samples: the mean of log mu - log pi, and of exp(d) - 1 - d
            with d = log pi - log mu, which is never negative (Schulman 2020, "Approximating KL divergence").
        entropy: of pi, nats.
        bound_fraction: share of tokens whose gradient a bound has stopped or capped.
    """

    tokens: int
    gap_mean: float
    gap_max: float
    kl_k1: float
    kl_k3: float
    entropy: float
    bound_fraction: float


def effective_sample_share(log_ratio_N: Tensor, truncation: float | None) -> Tensor:
    """Return (sum w)^2 / (N sum w^2) of the truncated weights w, in (0, 1] (Kong 1992)."""
    weights_N = importance_weights(log_ratio_N.double(), truncation)
    return weights_N.sum().square() / (len(weights_N) * weights_N.square().sum())


def off_policy(
    log_ratio_N: Tensor, tokens: TokenMeans, lengths_N: Tensor, truncation: float | None, bounds_tokens: bool
) -> OffPolicyMetrics:
    """Compute the diagnostics of a mini-batch from detached tensors.

    Args:
        log_ratio_N: log rho of every sequence, nats, not clamped.
        lengths_N: tokens of every sequence in the loss.
        truncation: the bound C on sequence weights.
        bounds_tokens: whether `clip_fraction` counts tokens at their bound, else sequences at C.
    """
    weights_N = importance_weights(log_ratio_N, truncation)
    clipped = 0.0 if truncation is None else (weights_N >= truncation).double().mean().item()
    distance_N = log_ratio_N.abs()
    p50, p95, p99 = torch.quantile(distance_N, torch.tensor([0.5, 0.95, 0.99], device=distance_N.device)).tolist()
    return OffPolicyMetrics(
        effective_sample_share=effective_sample_share(log_ratio_N, truncation).item(),
        weight_mean=weights_N.mean().item(),
        # E_mu[rho^2] - 1, the divergence that bounds the variance of importance sampling.
        chi_squared=importance_weights(log_ratio_N.double(), None).square().mean().item() - 1.0,
        clip_fraction=tokens.bound_fraction if bounds_tokens else clipped,
        mask_fraction=1.0 - int(lengths_N.sum()) / tokens.tokens,
        log_ratio_mean=distance_N.mean().item(),
        log_ratio_p50=p50,
        log_ratio_p95=p95,
        log_ratio_p99=p99,
        log_ratio_max=distance_N.max().item(),
        kl=tokens.kl_k3,
        kl_k1=tokens.kl_k1,
        entropy=tokens.entropy,
    )


def check_logprob_gap(tokens: TokenMeans, limit: float) -> None:
    """Refuse trajectories that the behaviour policy cannot have sampled.

    Under the policy that sampled, log pi - log mu is nearly 0. A gap means stale engine weights, another tokenizer,
    template or temperature, all of which would otherwise train silently on noise.

    Raises:
        InputError: the mean gap per token exceeds `limit`, nats.
    """
    if not tokens.gap_mean <= limit:
        raise InputError(
            f"engine and trainer disagree by {tokens.gap_mean:.3g} nats per token (maximum {tokens.gap_max:.3g}), more "
            f"than {limit:g} (train.max_logprob_gap): the rollout engine had other weights, another tokenizer, "
            "template or temperature than this policy; sample again with it"
        )
