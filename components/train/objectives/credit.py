"""Credit: the detached number by which each sequence's log-likelihood is pushed. It needs whole groups.

Every function maps (log_ratio_N, rewards_N, group_N) to credit_N; parameters that a configuration sets come after.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from components.contract.train_config import Baseline
from components.train.objectives.ratios import importance_weights
from components.train.objectives.segments import group_mean, group_size, group_sum

Credit = Callable[[Tensor, Tensor, Tensor], Tensor]

STD_FLOOR = 1e-4


def baseline(kind: Baseline, weights_N: Tensor, rewards_N: Tensor, group_N: Tensor) -> Tensor:
    """What a reward is compared with, from the G completions of the same prompt.

    weighted          (1/G) sum_j w_j R_j           the value of pi, unbiased where weights are not truncated
    self_normalised   sum_j w_j R_j / sum_j w_j     the same with less variance and a bias of order 1/G
    mean              (1/G) sum_j R_j               the value of mu
    leave_one_out     (1/(G-1)) sum_{j!=i} w_j R_j  independent of y_i: no bias but that of truncation (2402.14740)
    """
    weighted_N = weights_N * rewards_N
    match kind:
        case "weighted":
            return group_mean(weighted_N, group_N)
        case "self_normalised":
            return group_sum(weighted_N, group_N) / group_sum(weights_N, group_N)
        case "mean":
            return group_mean(rewards_N, group_N)
        case "leave_one_out":
            return (group_sum(weighted_N, group_N) - weighted_N) / (group_size(group_N, rewards_N.dtype) - 1)


def rapid(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor, truncation: float | None, kind: Baseline) -> Tensor:
    """w_i (R_i - b), w_i = min(exp(clamp(log rho_i, +-20)), C).

    With the weighted baseline and `log_likelihood` it is the gradient of RAPID (arXiv 2510.03515):
    (1/N) sum_i w_i (R_i - b) grad log pi(y_i).
    """
    weights_N = importance_weights(log_ratio_N, truncation)
    return weights_N * (rewards_N - baseline(kind, weights_N, rewards_N, group_N))


def rapid_clip(
    log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor, truncation: float | None, kind: Baseline
) -> Tensor:
    """R_i - b with the importance-weighted baseline of `rapid`.

    With `clipped_tokens` it is what the public training code of RAPID's authors (arXiv 2510.03515) computes,
    but with the baseline taken by group.
    """
    weights_N = importance_weights(log_ratio_N, truncation)
    return rewards_N - baseline(kind, weights_N, rewards_N, group_N)


def centred(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor) -> Tensor:  # noqa: ARG001
    """R_i - mean of the group: REINFORCE with a group-mean baseline, and Dr.GRPO (arXiv 2503.20783)."""
    return rewards_N - group_mean(rewards_N, group_N)


def leave_one_out(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor) -> Tensor:  # noqa: ARG001
    """R_i - mean of the group's other rewards: RLOO (arXiv 2402.14740)."""
    return rewards_N - baseline("leave_one_out", torch.ones_like(rewards_N), rewards_N, group_N)


def standardised(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor) -> Tensor:
    """(R_i - mean) / (std + 1e-4) of the group, std with Bessel's correction: GRPO (arXiv 2402.03300)."""
    centred_N = centred(log_ratio_N, rewards_N, group_N)
    size_N = group_size(group_N, rewards_N.dtype)
    std_N = (group_sum(centred_N.square(), group_N) / (size_N - 1)).sqrt()
    return centred_N / (std_N + STD_FLOOR)


def tapered(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor) -> Tensor:
    """A_i where A_i >= 0, min(rho_i, 1) A_i below, A_i = R_i - mean of the group: TOPR (arXiv 2503.14286).

    Good completions are learnt from however unlikely they have become; bad ones count only as far as pi still
    writes them, so nothing is pushed down without end.
    """
    advantage_N = centred(log_ratio_N, rewards_N, group_N)
    return torch.where(advantage_N >= 0, advantage_N, importance_weights(log_ratio_N, 1.0) * advantage_N)


def verified(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor, threshold: float) -> Tensor:  # noqa: ARG001
    """1 where R_i exceeds the threshold, else 0: behaviour cloning, rejection-sampling fine-tuning."""
    return (rewards_N > threshold).to(rewards_N.dtype)
