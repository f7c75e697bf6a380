"""Importance ratios of the policy that learns, pi, and the behaviour policy that sampled, mu; nats, float32."""

from torch import Tensor

from components.train.objectives.segments import segment_sum

LOG_RATIO_BOUND = 20.0
"""exp() of a log-ratio beyond this says only that the policies have parted; clamping keeps it finite."""


def sequence_log_ratio(logprobs_T: Tensor, behaviour_logprobs_T: Tensor, sequence_T: Tensor, sequences: int) -> Tensor:
    """log rho_N = sum_t (log pi - log mu), not clamped."""
    return segment_sum(logprobs_T - behaviour_logprobs_T, sequence_T, sequences)


def importance_weights(log_ratio: Tensor, truncation: float | None) -> Tensor:
    """w = min(exp(clamp(log rho, +-20)), C), of sequences or tokens; without a bound C when `truncation` is None."""
    weights = log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    return weights if truncation is None else weights.clamp(max=truncation)
