"""Sums and means over segments of a flat tensor."""

import torch
from torch import Tensor


def segment_sum(values: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Sums of `values` by segment number, [segments]; differentiable."""
    return torch.zeros(segments, dtype=values.dtype, device=values.device).index_add(0, segment, values)


def group_sum(values_N: Tensor, group_N: Tensor) -> Tensor:
    """For every sequence the sum of `values_N` over its group."""
    return segment_sum(values_N, group_N, int(group_N.max()) + 1)[group_N]


def group_size(group_N: Tensor, dtype: torch.dtype) -> Tensor:
    """For every sequence how many its group has."""
    return group_sum(torch.ones(len(group_N), dtype=dtype, device=group_N.device), group_N)


def group_mean(values_N: Tensor, group_N: Tensor) -> Tensor:
    """For every sequence the mean of `values_N` over its group."""
    return group_sum(values_N, group_N) / group_size(group_N, values_N.dtype)
