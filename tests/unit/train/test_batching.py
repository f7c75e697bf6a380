"""Mini-batches of whole groups, micro-batches within a budget."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from components.contract.errors import InputError
from components.train.batching import PASS_OVERHEAD, build_micro_batch, build_mini_batch, group_order, partition
from components.train.trajectories import Trajectories

CPU = torch.device("cpu")
Make = Callable[..., Trajectories]


def test_order_is_seeded_and_uses_each_group_at_most_once() -> None:
    order = group_order(12, 4, 3, seed=1, iteration=2)
    assert order.shape == (4, 3)
    assert sorted(order.ravel()) == list(range(12))
    np.testing.assert_array_equal(order, group_order(12, 4, 3, seed=1, iteration=2))
    assert (order != group_order(12, 4, 3, seed=1, iteration=3)).any()
    assert (order != group_order(12, 4, 3, seed=2, iteration=2)).any()


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(InputError, match=r"iteration 2 has 11 groups, but train.updates 4 .* need 12"):
        group_order(11, 4, 3, seed=1, iteration=2)


@pytest.mark.parametrize("budget", [1, 20, 60, 10_000])
@pytest.mark.parametrize("by_group", [True, False])
def test_micro_batches_hold_every_sequence_once_within_the_budget(
    make_trajectories: Make, budget: int, by_group: bool
) -> None:
    data = make_trajectories()
    batch = build_mini_batch(data, np.array([3, 1]), budget, by_group, CPU)
    rows = torch.cat([micro.rows_N for micro in batch.micro_batches])
    assert sorted(rows.tolist()) == list(range(8))
    for micro in batch.micro_batches:
        assert micro.input_ids_BT.numel() <= budget or len(micro.rows_N) == 1
    if batch.whole_groups:
        for micro in batch.micro_batches:
            groups = batch.group_N[micro.rows_N].tolist()
            assert all(groups.count(g) == data.group_size for g in groups)
    assert batch.rewards_N.tolist() == data.rewards[[12, 13, 14, 15, 4, 5, 6, 7]].tolist()


def test_groups_stay_whole_where_they_fit_and_not_where_they_do_not(make_trajectories: Make) -> None:
    data = make_trajectories()
    groups = np.arange(4)
    assert build_mini_batch(data, groups, 10_000, True, CPU).whole_groups
    assert not build_mini_batch(data, groups, 20, True, CPU).whole_groups
    assert not build_mini_batch(data, groups, 10_000, False, CPU).whole_groups


def test_groups_are_split_where_keeping_them_whole_wastes_more_than_a_pass(make_trajectories: Make) -> None:
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
        group_size=8,
    )
    assert not build_mini_batch(stretched, np.arange(4), 400, True, CPU).whole_groups


def test_a_micro_batch_predicts_each_completion_token_from_the_one_before(make_trajectories: Make) -> None:
    data = make_trajectories()
    rows, part = np.array([2, 5, 9, 14]), np.array([3, 0, 2])
    micro = build_micro_batch(data, rows, part, CPU)
    width = micro.input_ids_BT.shape[1]
    for place, row in enumerate(rows[part]):
        tokens = data.tokens[data.starts[row] : data.starts[row + 1]]
        mine = micro.sequence_T == place
        assert micro.input_ids_BT[place, : len(tokens) - 1].tolist() == tokens[:-1].tolist()
        assert micro.attention_mask_BT[place].tolist() == [1] * (len(tokens) - 1) + [0] * (width - len(tokens) + 1)
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
            total, begin = total + padded + PASS_OVERHEAD, begin + size
        return total

    def compositions(left: int) -> list[list[int]]:
        return (
            [[]]
            if left == 0
            else [[first, *rest] for first in range(1, left + 1) for rest in compositions(left - first)]
        )

    parts = partition([[i] for i in range(9)], lengths, budget)
    assert sorted(i for part in parts for i in part) == list(range(9))
    assert cost([len(part) for part in parts]) == min(cost(sizes) for sizes in compositions(9))
