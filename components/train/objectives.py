"""Policy-gradient objectives over token-packed tensors.

Shapes in names: `_T` completion tokens of all sequences one after the other, `_N` sequences. `sequence_T` maps
a token to its sequence, `group_N` a sequence to its group (the completions of one prompt). Log-probabilities are
float32 nats; pi is the policy that learns, mu the behaviour policy that sampled.

An objective has two parts. Its *credit* gives every sequence a detached number and needs whole groups. Its
*surrogate* turns log-probabilities and credit into one loss per sequence, so the loss of a mini-batch,
(1/N) sum_i loss_i, can be summed over any split of the sequences into micro-batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from components.contract.config import ObjectiveSection

LOG_RATIO_BOUND = 20.0
"""exp() of a log-ratio beyond this says only that the policies have parted; clamping keeps it finite."""

STD_FLOOR = 1e-4

Credit = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(log_ratio_N, rewards_N, group_N) -> credit_N."""

Surrogate = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(logprobs_T, behaviour_logprobs_T, sequence_T, credit_N) -> (loss_N, at_bound_T)."""


@dataclass(frozen=True)
class Objective:
    """Attributes:
    credit: what each sequence's log-likelihood is pushed by.
    surrogate: the loss per sequence, and for each token whether clipping has stopped its gradient.
    credit_uses_ratio: whether `credit` looks at `log_ratio_N`; if not, it is known before any forward pass.
    clips_tokens: whether the surrogate has a bound per token.
    """

    credit: Credit
    surrogate: Surrogate
    credit_uses_ratio: bool
    clips_tokens: bool


def build_objective(section: ObjectiveSection) -> Objective:
    """The objective a configuration names."""
    clipped = partial(clipped_surrogate, clip=section.clip)
    match section.name:
        case "rapid":
            return Objective(partial(rapid_credit, truncation=section.truncation), log_likelihood, True, False)
        case "rapid_clip":
            return Objective(partial(rapid_clip_credit, truncation=section.truncation), clipped, True, True)
        case "pg":
            return Objective(pg_credit, log_likelihood, False, False)
        case "grpo":
            return Objective(grpo_credit, clipped, False, True)


def objective_loss(
    objective: Objective,
    logprobs_T: Tensor,
    behaviour_logprobs_T: Tensor,
    sequence_T: Tensor,
    rewards_N: Tensor,
    group_N: Tensor,
) -> tuple[Tensor, Tensor]:
    """Loss of a whole mini-batch (scalar, with gradient to `logprobs_T`) and its credit_N."""
    log_ratio_N = sequence_log_ratio(logprobs_T.detach(), behaviour_logprobs_T, sequence_T, len(rewards_N))
    credit_N = objective.credit(log_ratio_N, rewards_N, group_N)
    loss_N, _ = objective.surrogate(logprobs_T, behaviour_logprobs_T, sequence_T, credit_N)
    return loss_N.mean(), credit_N


def rapid_credit(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor, truncation: float | None) -> Tensor:
    """w_i (R_i - b), b = (1/G) sum_j w_j R_j over the group of i.

    w_i = min(exp(clamp(log rho_i, +-20)), C) estimates pi(y_i)/mu(y_i), so b estimates the value of pi on the
    prompt from mu's own samples. With `log_likelihood` it is the gradient of RAPID (arXiv 2510.03515):
    (1/N) sum_i w_i (R_i - b) grad log pi(y_i).
    """
    weights_N = importance_weights(log_ratio_N, truncation)
    return weights_N * (rewards_N - group_mean(weights_N * rewards_N, group_N))


def rapid_clip_credit(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor, truncation: float | None) -> Tensor:
    """R_i - b with the importance-weighted baseline b of `rapid_credit`.

    With `clipped_surrogate` it is what the public training code of RAPID's authors (arXiv 2510.03515) computes,
    but with the baseline taken by group.
    """
    weights_N = importance_weights(log_ratio_N, truncation)
    return rewards_N - group_mean(weights_N * rewards_N, group_N)


def pg_credit(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor) -> Tensor:  # noqa: ARG001
    """R_i - mean of the group: REINFORCE with a group-mean baseline, right only while pi is mu."""
    return rewards_N - group_mean(rewards_N, group_N)


def grpo_credit(log_ratio_N: Tensor, rewards_N: Tensor, group_N: Tensor) -> Tensor:  # noqa: ARG001
    """(R_i - mean) / (std + 1e-4) of the group, std with Bessel's correction: GRPO (arXiv 2402.03300)."""
    centred_N = rewards_N - group_mean(rewards_N, group_N)
    size_N = group_sum(torch.ones_like(rewards_N), group_N)
    std_N = (group_sum(centred_N.square(), group_N) / (size_N - 1)).sqrt()
    return centred_N / (std_N + STD_FLOOR)


def log_likelihood(
    logprobs_T: Tensor,
    behaviour_logprobs_T: Tensor,  # noqa: ARG001
    sequence_T: Tensor,
    credit_N: Tensor,
) -> tuple[Tensor, Tensor]:
    """loss_i = -credit_i sum_t log pi(y_it): the score-function gradient (Williams 1992). Nothing is clipped."""
    loss_N = -credit_N * segment_sum(logprobs_T, sequence_T, len(credit_N))
    return loss_N, torch.zeros_like(sequence_T, dtype=torch.bool)


def clipped_surrogate(
    logprobs_T: Tensor, behaviour_logprobs_T: Tensor, sequence_T: Tensor, credit_N: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """loss_i = -(1/|y_i|) sum_t min(r_t A_i, clip(r_t, 1 - eps, 1 + eps) A_i), r_t = pi(y_it) / mu(y_it).

    The token-level surrogate of PPO (arXiv 1707.06347), mean over tokens of a sequence as in GRPO
    (arXiv 2402.03300); the ratio is taken against the stored behaviour log-probabilities.
    """
    ratio_T = (logprobs_T - behaviour_logprobs_T).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    credit_T = credit_N[sequence_T]
    free_T = ratio_T * credit_T
    bounded_T = ratio_T.clamp(1.0 - clip, 1.0 + clip) * credit_T
    length_N = torch.bincount(sequence_T, minlength=len(credit_N))
    loss_N = -segment_sum(torch.minimum(free_T, bounded_T), sequence_T, len(credit_N)) / length_N
    return loss_N, bounded_T.detach() < free_T.detach()


def sequence_log_ratio(logprobs_T: Tensor, behaviour_logprobs_T: Tensor, sequence_T: Tensor, sequences: int) -> Tensor:
    """log rho_N = sum_t (log pi - log mu), not clamped."""
    return segment_sum(logprobs_T - behaviour_logprobs_T, sequence_T, sequences)


def importance_weights(log_ratio_N: Tensor, truncation: float | None) -> Tensor:
    """w_N = min(exp(clamp(log rho, +-20)), C); without a bound C when `truncation` is None."""
    weights_N = log_ratio_N.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    return weights_N if truncation is None else weights_N.clamp(max=truncation)


def group_mean(values_N: Tensor, group_N: Tensor) -> Tensor:
    """For every sequence the mean of `values_N` over its group."""
    return group_sum(values_N, group_N) / group_sum(torch.ones_like(values_N), group_N)


def group_sum(values_N: Tensor, group_N: Tensor) -> Tensor:
    """For every sequence the sum of `values_N` over its group."""
    return segment_sum(values_N, group_N, int(group_N.max()) + 1)[group_N]


def segment_sum(values: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Sums of `values` by segment number; differentiable."""
    return torch.zeros(segments, dtype=values.dtype, device=values.device).index_add(0, segment, values)
