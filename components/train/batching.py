"""Which sequences are trained together: mini-batches of whole groups, micro-batches within a token budget."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from components.contract.digests import derive_seed
from components.contract.errors import InputError
from components.contract.train_config import OverlongSection
from components.train.microbatch import MicroBatch, build_micro_batch
from components.train.partition import part_tokens, partition, plan_cost
from components.train.processes import Processes
from components.train.trajectories import Trajectories

FIRST_PASS_COST = 1.0 / 3.0
"""A forward pass without gradient, as a share of forward and backward."""


@dataclass(frozen=True)
class MiniBatch:
    """Sequences of one optimizer step, and this process's share of their micro-batches.

    Attributes:
        rewards_N: float32.
        group_N: int64, from 0 within the mini-batch.
        lengths_N: int64, completion tokens that are trained; 0 for a masked sequence.
        micro_batches: over all processes every sequence once.
        counted: whether a micro-batch counts; one that does not keeps this process in step with the others.
        whole_groups: whether no group is spread over micro-batches.
        tokens: prompt and completion tokens of all sequences, padding not counted.
        completion_tokens: of all sequences.
    """

    rewards_N: Tensor
    group_N: Tensor
    lengths_N: Tensor
    micro_batches: tuple[MicroBatch, ...]
    counted: tuple[bool, ...]
    whole_groups: bool
    tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class MicroBatchLimits:
    """Attributes:
    tokens: of one forward pass, padding counted.
    packed: sequences one after the other in a row instead of padded side by side.
    """

    tokens: int
    packed: bool


@dataclass(frozen=True)
class Order:
    """Attributes:
    mini_batches: group numbers of each, int64.
    without_signal: groups whose rewards are all equal.
    dropped: how many of those were left out.
    """

    mini_batches: list[np.ndarray]
    without_signal: int
    dropped: int


def shape_rewards(data: Trajectories, overlong: OverlongSection) -> Trajectories:
    """Rewards from which the penalty on truncated completions is subtracted, where the configuration says so."""
    if overlong.handling != "penalise":
        return data
    return replace(data, rewards=(data.rewards - overlong.penalty * data.truncated).astype(np.float32))


def group_order(
    data: Trajectories, updates: int, per_update: int, drop_zero_signal: bool, seed: int, iteration: int
) -> Order:
    """Mini-batches of whole groups; the same for equal arguments.

    Groups that are dropped leave the order of the others alone. Where some are missing (dropped, or left out for
    bad rows) there are fewer mini-batches, all full; a single one may be smaller.

    Raises:
        InputError: fewer groups than the mini-batches need, with none missing.
    """
    by_group = data.rewards.reshape(-1, data.group_size)
    flat = by_group.max(axis=1) == by_group.min(axis=1)
    order = np.random.default_rng(derive_seed(seed, "mini-batches", iteration)).permutation(data.groups)
    if drop_zero_signal:
        order = order[~flat[order]]
    dropped = data.groups - len(order)
    needed = updates * per_update
    if len(order) < needed and not dropped and not data.bad_groups:
        raise InputError(
            f"iteration {iteration} has {data.groups} groups, but train.updates {updates} x train.mini_batch_prompts "
            f"{per_update} need {needed}; lower one of them or sample more prompts"
        )
    count = min(updates, max(1, len(order) // per_update)) if len(order) else 0
    batches = [order[i * per_update : (i + 1) * per_update] for i in range(count)]
    return Order(batches, int(flat.sum()), dropped)


def build_mini_batch(
    data: Trajectories,
    groups: np.ndarray,
    limits: MicroBatchLimits,
    credit_uses_ratio: bool,
    mask_truncated: bool,
    processes: Processes,
) -> MiniBatch:
    """Mini-batch of the given groups, in micro-batches within the limits.

    A sequence longer than the limit is a micro-batch of its own. Where the objective's credit needs the
    log-ratios of whole groups, groups are kept together unless their padding costs more than the extra forward
    pass that a finer split needs.
    """
    rows = (groups[:, None] * data.group_size + np.arange(data.group_size)).ravel()
    lengths = np.diff(data.starts)[rows] - 1
    budget = limits.tokens
    if processes.world > 1:
        # So that every process has something to do.
        budget = min(budget, -(-int(lengths.sum()) // processes.world))
    single = [[i] for i in range(len(rows))]
    plan, whole_groups = partition(single, lengths, budget, limits.packed), False
    if credit_uses_ratio:
        units = np.arange(len(rows)).reshape(-1, data.group_size).tolist()
        by_group = partition(units, lengths, budget, limits.packed)
        costs = [plan_cost(parts, lengths, limits.packed, processes.world) for parts in (by_group, plan)]
        fits = all(part_tokens(part, lengths, limits.packed) <= limits.tokens for part in by_group)
        if fits and costs[0] <= costs[1] * (1.0 + FIRST_PASS_COST):
            plan, whole_groups = by_group, True
    # Large ones first, as they are dealt to the processes.
    plan.sort(key=lambda part: -part_tokens(part, lengths, limits.packed))
    completion_lengths = np.diff(data.behaviour_starts)[rows]
    trained = completion_lengths * ~data.truncated[rows] if mask_truncated else completion_lengths
    device = processes.device
    shares = processes.share(plan)
    return MiniBatch(
        rewards_N=torch.from_numpy(data.rewards[rows]).to(device),
        group_N=torch.arange(len(groups), device=device).repeat_interleave(data.group_size),
        lengths_N=torch.from_numpy(trained).to(device),
        micro_batches=tuple(build_micro_batch(data, rows, np.array(part), limits.packed, device) for part, _ in shares),
        counted=tuple(counts for _, counts in shares),
        whole_groups=whole_groups,
        tokens=int((lengths + 1).sum()),
        completion_tokens=int(completion_lengths.sum()),
    )
