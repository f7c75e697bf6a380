"""RAPID and the policy-gradient objectives it is compared with, on one page.

Shapes in names: `_T` completion tokens of all sequences one after the other, `_N` sequences; `sequence_T` maps a token
to its sequence. Log-probabilities are float32 nats; pi is the policy in training, mu the behaviour policy. The loss of
a mini-batch of N sequences is

    loss = sum_i scale_i sum_t surrogate(log pi(y_it), log mu(y_it), A_i)

The *advantage* gives every sequence a detached number A_i and needs whole groups. The *surrogate* turns
log-probabilities and advantages into a loss per token. The *normalisation* gives scale_i and needs only lengths. So the
loss of a mini-batch can be summed over any split of its sequences into micro-batches.

`OBJECTIVES` at the end is the table of all. Keyword-only parameters are options, of the names in the configuration
(`components/contract/objective_config.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from components.contract.objective_config import Baseline, Normalisation

LOG_RATIO_BOUND = 20.0
"""Log-ratios are clamped to +-20 before exp, so weights stay finite."""

STD_EPSILON = 1e-4
RAPID_TRUNCATION = 2.0

# Importance weights


def segment_sum(values: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Sum `values` by segment number, [segments]; differentiable."""
    return torch.zeros(segments, dtype=values.dtype, device=values.device).index_add(0, segment, values)


def sequence_log_ratio(logprobs_T: Tensor, behaviour_logprobs_T: Tensor, sequence_T: Tensor, sequences: int) -> Tensor:
    """Return log rho_N = sum_t (log pi - log mu), not clamped."""
    return segment_sum(logprobs_T - behaviour_logprobs_T, sequence_T, sequences)


def importance_weights(log_ratio: Tensor, truncation: float | None) -> Tensor:
    """Return w = min(exp(clamp(log rho, +-20)), C), of sequences or tokens; no bound C where `truncation` is None."""
    weights = log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    return weights if truncation is None else weights.clamp(max=truncation)


# Advantages


@dataclass(frozen=True)
class Completions:
    """The completions of whole groups, as advantage functions see them.

    Attributes:
        log_ratio_N: log rho, not clamped; zeros unless the objective declares `uses_ratio`.
        rewards_N: float32.
        group_N: int64, the group of each sequence.
        verified_N: bool, whether the reward exceeds `train.cloning.threshold`.
    """

    log_ratio_N: Tensor
    rewards_N: Tensor
    group_N: Tensor
    verified_N: Tensor

    def with_log_ratio(self, log_ratio_N: Tensor) -> "Completions":
        return replace(self, log_ratio_N=log_ratio_N)

    def select(self, rows_N: Tensor) -> "Completions":
        return Completions(*(getattr(self, field.name)[rows_N] for field in fields(self)))

    def group_sum(self, values_N: Tensor) -> Tensor:
        """Return for every sequence the sum of `values_N` over its group."""
        return segment_sum(values_N, self.group_N, int(self.group_N.max()) + 1)[self.group_N]

    def group_mean(self, values_N: Tensor) -> Tensor:
        """Return for every sequence the mean of `values_N` over its group."""
        return self.group_sum(values_N) / self.group_size_N

    @property
    def group_size_N(self) -> Tensor:
        return self.group_sum(torch.ones_like(self.rewards_N))


Advantage = Callable[..., Tensor]
"""(Completions, *, options) -> advantage_N, detached."""


def group_baseline(kind: Baseline, weights_N: Tensor, c: Completions) -> Tensor:
    """Return each sequence's baseline, from the G completions of its group.

    weighted          (1/G) sum_j w_j R_j           the value of pi, unbiased where weights are not truncated
    self_normalised   sum_j w_j R_j / sum_j w_j     the same with less variance and a bias of order 1/G
    mean              (1/G) sum_j R_j               the value of mu
    leave_one_out     (1/(G-1)) sum_{j!=i} w_j R_j  independent of y_i: no bias but that of truncation (2402.14740)
    """
    weighted_N = weights_N * c.rewards_N
    match kind:
        case "weighted":
            return c.group_mean(weighted_N)
        case "self_normalised":
            return c.group_sum(weighted_N) / c.group_sum(weights_N)
        case "mean":
            return c.group_mean(c.rewards_N)
        case "leave_one_out":
            return (c.group_sum(weighted_N) - weighted_N) / (c.group_size_N - 1)


def weighted(c: Completions, *, truncation: float | None, baseline: Baseline) -> Tensor:
    """Return w_i (R_i - b).

    With the weighted baseline and `log_likelihood` it is the gradient of RAPID (arXiv 2510.03515):
    (1/N) sum_i w_i (R_i - b) grad log pi(y_i).
    """
    weights_N = importance_weights(c.log_ratio_N, truncation)
    return weights_N * (c.rewards_N - group_baseline(baseline, weights_N, c))


def above_baseline(c: Completions, *, truncation: float | None, baseline: Baseline) -> Tensor:
    """Return R_i - b with the importance-weighted baseline of RAPID.

    With `clipped_tokens` it is what the public training code of RAPID's authors (arXiv 2510.03515) computes, except
    that the baseline is taken by group.
    """
    return c.rewards_N - group_baseline(baseline, importance_weights(c.log_ratio_N, truncation), c)


def centred(c: Completions) -> Tensor:
    """Return R_i - mean of the group: REINFORCE with a group-mean baseline, and Dr.GRPO (arXiv 2503.20783)."""
    return c.rewards_N - c.group_mean(c.rewards_N)


def leave_one_out(c: Completions) -> Tensor:
    """Return R_i - mean of the group's other rewards: RLOO (arXiv 2402.14740)."""
    return c.rewards_N - group_baseline("leave_one_out", torch.ones_like(c.rewards_N), c)


def standardised(c: Completions) -> Tensor:
    """Return (R_i - mean) / (std + 1e-4) of the group, std with Bessel's correction: GRPO (arXiv 2402.03300)."""
    centred_N = centred(c)
    std_N = (c.group_sum(centred_N.square()) / (c.group_size_N - 1)).sqrt()
    return centred_N / (std_N + STD_EPSILON)


def weighted_below_mean(c: Completions) -> Tensor:
    """Return A_i where A_i >= 0 and min(rho_i, 1) A_i below, A_i = R_i - mean: TOPR (arXiv 2503.14286).

    Good completions count in full, however unlikely they have become; bad ones only as far as pi still samples them,
    so that none is pushed down without end.
    """
    advantage_N = centred(c)
    return torch.where(advantage_N >= 0, advantage_N, importance_weights(c.log_ratio_N, 1.0) * advantage_N)


def verified(c: Completions) -> Tensor:
    """Return 1 for verified completions, else 0: behaviour cloning, rejection-sampling fine-tuning."""
    return c.verified_N.to(c.rewards_N.dtype)


# Surrogates


@dataclass(frozen=True)
class Tokens:
    """Completion tokens, as surrogates see them; log-probabilities of pi carry the gradient."""

    logprobs_T: Tensor
    behaviour_logprobs_T: Tensor
    sequence_T: Tensor
    advantage_N: Tensor

    @property
    def advantage_T(self) -> Tensor:
        return self.advantage_N[self.sequence_T]

    @property
    def log_ratio_T(self) -> Tensor:
        return self.logprobs_T - self.behaviour_logprobs_T

    @property
    def none_at_bound_T(self) -> Tensor:
        return torch.zeros_like(self.sequence_T, dtype=torch.bool)


Surrogate = Callable[..., tuple[Tensor, Tensor]]
"""(Tokens, *, options) -> (loss_T, at_bound_T): the loss with its gradient to `logprobs_T`, and the tokens where a
bound has stopped or capped that gradient."""


def log_likelihood(t: Tokens) -> tuple[Tensor, Tensor]:
    """loss_it = -A_i log pi(y_it): the score-function gradient (Williams 1992). Nothing is bounded."""
    return -t.advantage_T * t.logprobs_T, t.none_at_bound_T


def weighted_tokens(t: Tokens, *, truncation: float | None) -> tuple[Tensor, Tensor]:
    """loss_it = -min(r_it, C) A_i log pi(y_it), r_it = pi(y_it) / mu(y_it), weight held constant.

    Token-level truncated importance sampling; with standardised advantages and a mean over all tokens it is CISPO
    (arXiv 2506.13585, eq. 4 and 5, without a lower bound, as there).
    """
    weights_T = importance_weights(t.log_ratio_T.detach(), truncation)
    at_bound_T = t.none_at_bound_T if truncation is None else weights_T >= truncation
    return -weights_T * t.advantage_T * t.logprobs_T, at_bound_T


def clipped_tokens(t: Tokens, *, clip: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """loss_it = -min(r_it A_i, clip(r_it, 1 - clip, 1 + clip_high) A_i), r_it = pi(y_it) / mu(y_it).

    The token-level surrogate of PPO (arXiv 1707.06347) and GRPO (arXiv 2402.03300); with clip_high > clip it is
    DAPO's clip-higher (arXiv 2503.14476). The ratio is taken to the stored behaviour log-probabilities.
    """
    return _clipped(importance_weights(t.log_ratio_T, None), t.advantage_T, clip, clip_high)


def clipped_sequences(t: Tokens, *, clip: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """loss_it = -min(s_i A_i, clip(s_i, 1 - clip, 1 + clip_high) A_i), s_i = (pi(y_i) / mu(y_i))^(1/|y_i|).

    GSPO (arXiv 2507.18071, eq. 5 to 7). Every token has its sequence's loss, so that a mean over a sequence's tokens
    gives just that.
    """
    sequences = len(t.advantage_N)
    log_ratio_N = sequence_log_ratio(t.logprobs_T, t.behaviour_logprobs_T, t.sequence_T, sequences)
    mean_N = log_ratio_N / torch.bincount(t.sequence_T, minlength=sequences).clamp(min=1)
    loss_N, at_bound_N = _clipped(importance_weights(mean_N, None), t.advantage_N, clip, clip_high)
    return loss_N[t.sequence_T], at_bound_N[t.sequence_T]


def _clipped(ratio: Tensor, advantage: Tensor, clip: float, clip_high: float) -> tuple[Tensor, Tensor]:
    free, bounded = ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip_high) * advantage
    return -torch.minimum(free, bounded), bounded.detach() < free.detach()


def kl_to_guide(logprobs_T: Tensor, guide_logprobs_T: Tensor) -> Tensor:
    """Return d^2 / 2 with d = log pi - log guide, per token.

    Under samples from pi its gradient is that of KL(pi || guide) of each token given those before it; the effect of a
    token on the divergence of later ones is left out (arXiv 2506.09477). GRPO's exp(-d) - 1 + d has the gradient of
    KL(guide || pi), and weights a token by guide / pi; near the guide both are the same.
    """
    return (logprobs_T - guide_logprobs_T).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).square() / 2


# Normalisation


def token_scales(kind: Normalisation, lengths_N: Tensor, longest: int) -> Tensor:
    """Return scale_N, by which the loss of each token of a sequence is multiplied, float32.

    sum        1 / N                     sum over a sequence's tokens: the gradient of its log-likelihood
    sequence   1 / (N |y_i|)             mean per sequence: GRPO (arXiv 2402.03300)
    token      1 / sum_j |y_j|           mean over all tokens: DAPO (arXiv 2503.14476)
    constant   1 / (N L)                 sum divided by a constant L: Dr.GRPO (arXiv 2503.20783)

    Args:
        lengths_N: tokens in the loss; 0 for a masked sequence.
        longest: L, `rollout.max_tokens`.
    """
    lengths_N = lengths_N.to(torch.float32)
    ones_N = torch.ones_like(lengths_N)
    match kind:
        case "sum":
            return ones_N / len(lengths_N)
        case "sequence":
            return 1.0 / (len(lengths_N) * lengths_N.clamp(min=1.0))
        case "token":
            return ones_N / lengths_N.sum().clamp(min=1.0)
        case "constant":
            return ones_N / (len(lengths_N) * longest)


# Objectives


@dataclass(frozen=True)
class Objective:
    """An advantage, a surrogate and a normalisation, and what the trainer has to know of them.

    Attributes:
        uses_ratio: the advantage reads `log_ratio_N`; if not, it is known before any forward pass.
        bounds_tokens: the surrogate has a bound per token, which `clip_fraction` then counts.
        token_local: once advantages are known, the loss of a token depends on no other token; else on those of its
            sequence.
        truncation: the bound C on the sequence weights that diagnostics describe, where the advantage has none of its
            own: RAPID's, so that effective sample sizes of different objectives compare.
        clones: behaviour cloning: exempt from `train.updates.until_share`.
        normalisation: of objectives that are not in the table; those have it as an option.
    """

    advantage: Advantage
    surrogate: Surrogate
    uses_ratio: bool = False
    bounds_tokens: bool = False
    token_local: bool = True
    truncation: float | None = RAPID_TRUNCATION
    clones: bool = False
    normalisation: Normalisation = "sum"


OBJECTIVES: dict[str, Objective] = {
    "rapid/sequence": Objective(weighted, log_likelihood, uses_ratio=True),
    "rapid/token": Objective(above_baseline, weighted_tokens, uses_ratio=True, bounds_tokens=True),
    "rapid_clip/token": Objective(above_baseline, clipped_tokens, uses_ratio=True, bounds_tokens=True),
    "rapid_clip/sequence": Objective(
        above_baseline, clipped_sequences, uses_ratio=True, bounds_tokens=True, token_local=False
    ),
    "pg": Objective(centred, log_likelihood),
    "rloo": Objective(leave_one_out, log_likelihood),
    "grpo": Objective(standardised, clipped_tokens, bounds_tokens=True),
    "dr_grpo": Objective(centred, clipped_tokens, bounds_tokens=True),
    "dapo": Objective(standardised, clipped_tokens, bounds_tokens=True),
    "gspo": Objective(standardised, clipped_sequences, bounds_tokens=True, token_local=False),
    "cispo": Objective(standardised, weighted_tokens, bounds_tokens=True),
    "token_is": Objective(centred, weighted_tokens, bounds_tokens=True),
    "topr": Objective(weighted_below_mean, log_likelihood, uses_ratio=True, truncation=1.0),
    "sft": Objective(verified, log_likelihood, clones=True),
}
"""By `train.objective.name`, and by its option `ratio` where it has one."""
