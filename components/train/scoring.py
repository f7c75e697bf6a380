"""Completions under a policy that is not being changed: comparisons with the log-probabilities stored with them."""

import numpy as np
import torch
from torch import Tensor

from components.contract.config import RunConfig
from components.train.batching import MicroBatchLimits, build_mini_batch
from components.train.diagnostics import TokenMeans, TokenSums
from components.train.distributed import Processes
from components.train.logprobs import LogprobModel
from components.train.loss import mini_batch_log_ratios
from components.train.policy import takes_groups
from components.train.trajectories import Trajectories


@torch.no_grad()
def measure_behaviour_gap(
    behaviour: LogprobModel, data: Trajectories, groups: np.ndarray, config: RunConfig, processes: Processes
) -> TokenMeans:
    """Measure |log pi - log mu| of a mini-batch under its behaviour policy."""
    limits = MicroBatchLimits(config.train.micro_batch_tokens, takes_groups(behaviour.model))
    batch = build_mini_batch(data, groups, limits, processes)
    sums = TokenSums(batch.rewards_N.device)
    for micro, is_counted in zip(batch.micro_batches, batch.counted, strict=True):
        logprobs_T, entropy_T = behaviour(micro)
        if is_counted:
            sums.add(logprobs_T - micro.behaviour_logprobs_T, entropy_T, torch.zeros_like(entropy_T))
    return sums.means(processes)


@torch.no_grad()
def completion_logprobs(model: LogprobModel, data: Trajectories, config: RunConfig, processes: Processes) -> np.ndarray:
    """Return the log-probabilities of all completion tokens, float32 nats in the order of `data.behaviour_logprobs`.

    Args:
        data: no more than a mini-batch.
    """
    limits = MicroBatchLimits(config.train.micro_batch_tokens, takes_groups(model.model))
    batch = build_mini_batch(data, np.arange(data.groups), limits, processes)
    found_T = torch.zeros(len(data.behaviour_logprobs), device=processes.device)
    for micro, is_counted in zip(batch.micro_batches, batch.counted, strict=True):
        logprobs_T, _ = model(micro)
        if is_counted:
            found_T[data.completion_places(micro.rows_N.cpu().numpy())] = logprobs_T
    return processes.all_reduce(found_T).cpu().numpy()


def log_ratios(policy: LogprobModel, data: Trajectories, config: RunConfig, processes: Processes) -> Tensor:
    """Return log rho of every sequence, nats, not clamped; computed in mini-batches of the configured size."""
    limits = MicroBatchLimits(config.train.micro_batch_tokens, takes_groups(policy.model))
    parts = []
    for start in range(0, data.groups, config.train.mini_batch_prompts):
        groups = np.arange(start, min(start + config.train.mini_batch_prompts, data.groups))
        batch = build_mini_batch(data, groups, limits, processes)
        parts.append(mini_batch_log_ratios(policy, batch, processes, [True] * len(batch.micro_batches)))
    return torch.cat(parts)
