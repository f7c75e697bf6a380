"""Rows within a budget, shared by processes, and padded micro-batches."""

from collections.abc import Sequence

import numpy as np
import pytest

from components.train.planning import MICRO_BATCH_OVERHEAD, Part, fill, plan_groups, plan_padded, share


def sequences(parts: Sequence[Part]) -> list[int]:
    return sorted(row for part in parts for group in part.groups for row in group)


def draw(seed: int, groups: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(5, 60, groups).repeat(size), rng.integers(0, 80, groups * size)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("budget", [1, 90, 300, 10_000])
def test_rows_hold_every_sequence_once_within_the_budget(budget: int, world: int) -> None:
    prompts, completions = draw(0, 10, 4)
    plan = plan_groups(prompts, completions, 4, budget, world)
    assert sequences(plan) == list(range(40))
    for part in plan:
        tokens = sum(prompts[group[0]] + completions[group].sum() for group in part.groups)
        assert part.tokens == tokens
        assert tokens <= budget or np.count_nonzero(completions[np.concatenate(part.groups)]) <= 1
        assert all(len({row // 4 for row in group}) == 1 for group in part.groups)
        assert part.whole == all(len(group) == 4 for group in part.groups)
    whole = prompts[::4] + completions.reshape(10, 4).sum(1) <= budget
    assert sum(len(part.groups) for part in plan if part.whole) == whole.sum()


def test_fewer_groups_than_processes_are_split() -> None:
    prompts, completions = np.full(8, 10), np.full(8, 20)
    (alone,) = plan_groups(prompts, completions, 8, 1000, 1)
    assert alone.whole
    two = plan_groups(prompts, completions, 8, 1000, 2)
    assert [(part.tokens, part.whole) for part in two] == [(90, False), (90, False)]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_the_work_evenly_and_go_in_step(world: int) -> None:
    prompts, completions = draw(1, 32, 8)
    plan = plan_groups(prompts, completions, 8, 1000, world)
    shares = [share(plan, rank, world) for rank in range(world)]
    counted = [part for turns in shares for part, is_counted, _ in turns if is_counted]
    assert sequences(counted) == list(range(256))
    turns = list(zip(*shares, strict=True))
    assert all(len({whole for _, _, whole in turn}) == 1 for turn in turns)
    longest = sum(max(part.tokens for part, _, _ in turn) for turn in turns)
    assert longest < 1.15 * sum(part.tokens for part in plan) / world


def test_split_groups_come_first_and_in_all_processes_at_once() -> None:
    prompts = np.full(12, 10)
    completions = np.array([40] * 4 + [3] * 8)
    plan = plan_groups(prompts, completions, 4, 70, 2)
    for rank in range(2):
        turns = share(plan, rank, 2)
        assert [whole for _, _, whole in turns] == sorted(whole for _, _, whole in turns)
        assert {whole for _, _, whole in turns} == {False, True}


def test_items_fill_bins_evenly() -> None:
    assert sorted(map(sum, ([[7, 5, 4, 4, 2][i] for i in bin_] for bin_ in fill([7, 5, 4, 4, 2], 12, 1)))) == [11, 11]
    assert len(fill([5] * 7, 12, 2)) == 4
    assert fill([50], 12, 2) == [[0]]


@pytest.mark.parametrize("seed", range(6))
def test_padded_micro_batches_are_the_cheapest_of_all_cuts(seed: int) -> None:
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

    parts = plan_padded(lengths, budget, 1)
    assert sequences(parts) == list(range(9))
    assert cost([len(part.groups) for part in parts]) == min(cost(sizes) for sizes in compositions(9))
