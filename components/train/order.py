"""Which groups the mini-batches of an iteration consist of."""

from dataclasses import dataclass, replace

import numpy as np

from components.contract.config import RunConfig
from components.contract.digests import derive_seed
from components.contract.errors import InputError
from components.contract.train_config import OverlongSection
from components.train.trajectories import Trajectories


@dataclass(frozen=True)
class MiniBatchOrder:
    """The groups of every mini-batch of an iteration.

    Attributes:
        mini_batches: group numbers of each, int64.
        zero_signal_groups: groups whose rewards are all equal.
        dropped: how many of those were left out.
    """

    mini_batches: list[np.ndarray]
    zero_signal_groups: int
    dropped: int


def shape_rewards(data: Trajectories, overlong: OverlongSection) -> Trajectories:
    """Subtract the penalty on truncated completions from their rewards, where the configuration asks for it."""
    if overlong.handling != "penalise":
        return data
    return replace(data, rewards=(data.rewards - overlong.penalty * data.truncated).astype(np.float32))


def order_mini_batches(data: Trajectories, config: RunConfig, iteration: int) -> MiniBatchOrder:
    """Draw mini-batches of the iteration's own groups; equal arguments give equal mini-batches.

    Dropping groups leaves the order of the others alone. Where some are missing (dropped, or left out)
    there are fewer mini-batches, all full; a single one may be smaller.

    Raises:
        InputError: fewer groups than the mini-batches need, with none missing.
    """
    section, size = config.train, config.new_groups
    equal = ~data.reward_spread().astype(bool)
    order = np.random.default_rng(derive_seed(config.run.seed, "mini-batches", iteration)).permutation(data.groups)
    if section.zero_signal_groups == "drop":
        order = order[~equal[order]]
    dropped = data.groups - len(order)
    updates = section.updates.most
    if len(order) < updates * size and not dropped and not data.bad_groups and not data.ungraded_groups:
        less = " less loop.replay" if config.loop.replay else ""
        raise InputError(
            f"iteration {iteration} has {data.groups} groups, but train.updates.most {updates} x "
            f"train.mini_batch_prompts{less} {size} need {updates * size}; lower one of them or sample more prompts"
        )
    count = min(updates, max(1, len(order) // size)) if len(order) else 0
    batches = [order[i * size : (i + 1) * size] for i in range(count)]
    return MiniBatchOrder(batches, int(equal.sum()), dropped)
