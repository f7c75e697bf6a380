"""The prompts that a shard of a round samples, and their seeds."""

from dataclasses import dataclass

import numpy as np

from components.contract.digests import derive_seed
from components.contract.layout import Round


@dataclass(frozen=True)
class Group:
    """All completions of one prompt in one round.

    `place` counts the groups of the round and split over all shards; `index` is the prompt's row in its split's table;
    completion i is drawn with seed `seed + i`. `start` are token ids after the prompt, which a guided group continues.
    """

    group_id: str
    split: str
    place: int
    index: int
    seed: int
    start: tuple[int, ...] = ()


def training_groups(prompts: int, count: int, round_: Round, shard: int, shards: int, run_seed: int) -> list[Group]:
    """Return the shard's share of the `count` prompts that iteration `round_` draws.

    Prompts are drawn without replacement, epoch after epoch in a new order each, so that iterations continue
    where the one before ended; which prompts an iteration gets depends on nothing but the arguments.
    """
    first = (round_.number - 1) * count
    orders: dict[int, np.ndarray] = {}
    groups = []
    for place in range(shard, count, shards):
        epoch, offset = divmod(first + place, prompts)
        if epoch not in orders:
            orders[epoch] = np.random.default_rng([run_seed, epoch]).permutation(prompts)
        groups.append(_group("train", int(orders[epoch][offset]), place, round_, shard, run_seed))
    return groups


def held_out_groups(prompts: int, round_: Round, shard: int, shards: int, run_seed: int) -> list[Group]:
    """Return the shard's share of the held-out prompts: all of them in every round."""
    return [_group("eval", place, place, round_, shard, run_seed) for place in range(shard, prompts, shards)]


def _group(split: str, index: int, place: int, round_: Round, shard: int, run_seed: int) -> Group:
    group_id = f"{split}-{place:05d}"
    return Group(group_id, split, place, index, derive_seed(run_seed, str(round_), shard, group_id))
