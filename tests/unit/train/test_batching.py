"""Mini-batches of whole groups, micro-batches within a budget."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from components.train.batching import (
    MicroBatchLimits,
    build_mini_batch,
    build_padded,
)
from components.train.distributed import Processes
from components.train.trajectories import Trajectories

CPU = torch.device("cpu")
Make = Callable[..., Trajectories]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("budget", [1, 20, 60, 10_000])
@pytest.mark.parametrize("grouped", [False, True])
def test_micro_batches_of_all_processes_hold_every_sequence_once_within_the_budget(
    make_trajectories: Make, world: int, budget: int, grouped: bool
) -> None:
    data, limits, groups = make_trajectories(groups=5), MicroBatchLimits(budget, grouped), np.array([3, 1, 0])
    shares = [build_mini_batch(data, groups, limits, Processes(rank, world, CPU)) for rank in range(world)]
    assert len({(len(share.micro_batches), share.whole) for share in shares}) == 1
    found = []
    for share in shares:
        assert share.rewards_N.tolist() == data.rewards.reshape(5, 4)[groups].ravel().tolist()
        for micro, is_counted, whole in zip(share.micro_batches, share.counted, share.whole, strict=True):
            lengths = np.array([int((micro.sequence_T == row).sum()) for row in range(len(micro.rows_N))])
            assert micro.inputs["input_ids"].numel() <= budget or (lengths > 1).sum() <= 1
            assert sum(micro.group_tokens) == len(micro.targets_T)
            found += micro.rows_N.tolist() if is_counted else []
            in_groups = share.group_N[micro.rows_N].tolist()
            assert not whole or all(in_groups.count(group) == data.group_size for group in in_groups)
    assert sorted(found) == list(range(12))


def test_a_padded_micro_batch_predicts_each_completion_token_from_the_one_before(make_trajectories: Make) -> None:
    data = make_trajectories()
    rows, part = np.array([2, 5, 9, 14]), np.array([3, 0, 2])
    micro = build_padded(data, rows, part[:, None], CPU)
    ids, mask = micro.inputs["input_ids"], micro.inputs["attention_mask"]
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
