"""Mini-batches of whole groups, micro-batches within a budget."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from components.train.batching import (
    MICRO_BATCH_OVERHEAD,
    MicroBatchLimits,
    build_micro_batch,
    build_mini_batch,
    partition,
)
from components.train.distributed import Processes
from components.train.trajectories import Trajectories

CPU = torch.device("cpu")
Make = Callable[..., Trajectories]


def mini_batch(data: Trajectories, groups: Sequence[int], budget: int, by_group: bool, packed: bool = False):
    limits = MicroBatchLimits(budget, packed)
    return build_mini_batch(data, np.array(groups), limits, Processes(0, 1, CPU), uses_ratio=by_group)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_processes_share_every_sequence_once(make_trajectories: Make, world: int, packed: bool) -> None:
    data, limits = make_trajectories(groups=5), MicroBatchLimits(40, packed)
    shares = [build_mini_batch(data, np.arange(5), limits, Processes(rank, world, CPU)) for rank in range(world)]
    assert len({len(share.micro_batches) for share in shares}) == 1
    rows = [
        row
        for share in shares
        for micro, is_counted in zip(share.micro_batches, share.counted, strict=True)
        if is_counted
        for row in micro.rows_N.tolist()
    ]
    assert sorted(rows) == list(range(20))


@pytest.mark.parametrize("by_group", [True, False])
def test_processes_share_the_work_evenly(make_trajectories: Make, by_group: bool) -> None:
    """Each round waits for its largest micro-batch: together they take little more than an even share."""
    data, world = make_trajectories(groups=16, group_size=8), 4
    shares = [
        build_mini_batch(
            data, np.arange(16), MicroBatchLimits(65_536, True), Processes(rank, world, CPU), uses_ratio=by_group
        )
        for rank in range(world)
    ]

    def tokens(share, index: int) -> int:
        return share.micro_batches[index].inputs["input_ids"].numel()

    rounds = range(len(shares[0].micro_batches))
    longest = sum(max(tokens(share, index) for share in shares) for index in rounds)
    assert longest < 1.5 * sum(np.diff(data.starts) - 1) / world


@pytest.mark.parametrize("budget", [1, 20, 60, 10_000])
@pytest.mark.parametrize("by_group", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_micro_batches_hold_every_sequence_once_within_the_budget(
    make_trajectories: Make, budget: int, by_group: bool, packed: bool
) -> None:
    data = make_trajectories()
    batch = mini_batch(data, [3, 1], budget, by_group, packed)
    rows = torch.cat([micro.rows_N for micro in batch.micro_batches])
    assert sorted(rows.tolist()) == list(range(8))
    for micro in batch.micro_batches:
        ids = micro.inputs["input_ids"]
        assert isinstance(ids, torch.Tensor)
        assert ids.numel() <= budget or len(micro.rows_N) == 1
    if batch.whole_groups:
        for micro in batch.micro_batches:
            groups = batch.group_N[micro.rows_N].tolist()
            assert all(groups.count(g) == data.group_size for g in groups)
    assert batch.rewards_N.tolist() == data.rewards[[12, 13, 14, 15, 4, 5, 6, 7]].tolist()


def test_groups_stay_whole_where_they_fit_and_not_where_they_do_not(make_trajectories: Make) -> None:
    data = make_trajectories()
    groups = np.arange(4)
    assert mini_batch(data, groups, 10_000, True).whole_groups
    assert not mini_batch(data, groups, 20, True).whole_groups
    assert not mini_batch(data, groups, 10_000, False).whole_groups


def test_groups_are_split_where_keeping_them_whole_wastes_more_than_a_forward_pass(make_trajectories: Make) -> None:
    # One long completion in each group pads its whole group.
    data = make_trajectories(groups=4, group_size=8, longest=3)
    lengths = np.diff(data.starts)
    long = [8 * g for g in range(4)]
    pieces, starts, behaviour = [], [0], []
    for row in range(32):
        extra = np.full(40 if row in long else 0, 5)
        pieces.append(np.concatenate([data.tokens[data.starts[row] : data.starts[row + 1]], extra]))
        starts.append(starts[-1] + lengths[row] + len(extra))
        behaviour.append(starts[-1] - starts[-2] - data.prompt_lengths[row])
    stretched = Trajectories(
        tokens=np.concatenate(pieces),
        starts=np.array(starts),
        prompt_lengths=data.prompt_lengths,
        behaviour_logprobs=np.zeros(sum(behaviour), np.float32),
        behaviour_starts=np.concatenate([[0], np.cumsum(behaviour)]),
        rewards=data.rewards,
        truncated=data.truncated,
        group_size=8,
    )
    assert not mini_batch(stretched, range(4), 400, True).whole_groups


def test_a_micro_batch_predicts_each_completion_token_from_the_one_before(make_trajectories: Make) -> None:
    data = make_trajectories()
    rows, part = np.array([2, 5, 9, 14]), np.array([3, 0, 2])
    micro = build_micro_batch(data, rows, part, False, CPU)
    ids, mask = micro.inputs["input_ids"], micro.inputs["attention_mask"]
    assert isinstance(ids, torch.Tensor)
    assert isinstance(mask, torch.Tensor)
    width = ids.shape[1]
    for place, row in enumerate(rows[part]):
        tokens = data.tokens[data.starts[row] : data.starts[row + 1]]
        mine = micro.sequence_T == place
        assert ids[place, : len(tokens) - 1].tolist() == tokens[:-1].tolist()
        assert mask[place].tolist() == [1] * (len(tokens) - 1) + [0] * (width - len(tokens) + 1)
        assert micro.targets_T[mine].tolist() == tokens[data.prompt_lengths[row] :].tolist()
        assert (micro.predictors_T[mine] - place * width).tolist() == list(
            range(data.prompt_lengths[row] - 1, len(tokens) - 1)
        )
        mu = data.behaviour_logprobs[data.behaviour_starts[row] : data.behaviour_starts[row + 1]]
        np.testing.assert_array_equal(micro.behaviour_logprobs_T[mine].numpy(), mu)


@pytest.mark.parametrize("seed", range(6))
def test_partition_is_the_cheapest_of_all_cuts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(10, 400, 9)
    budget = int(rng.integers(300, 1500))
    order = np.sort(lengths)[::-1]

    def cost(sizes: list[int]) -> float:
        begin, total = 0, 0
        for size in sizes:
            padded = size * int(order[begin])
            if padded > budget and size > 1:
                return np.inf
            total, begin = total + padded + MICRO_BATCH_OVERHEAD, begin + size
        return total

    def compositions(left: int) -> list[list[int]]:
        return (
            [[]]
            if left == 0
            else [[first, *rest] for first in range(1, left + 1) for rest in compositions(left - first)]
        )

    parts = partition([[i] for i in range(9)], lengths, budget, packed=False)
    assert sorted(i for part in parts for i in part) == list(range(9))
    assert cost([len(part) for part in parts]) == min(cost(sizes) for sizes in compositions(9))
