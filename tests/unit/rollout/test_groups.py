import pytest

from components.contract.layout import Round
from components.rollout.groups import held_out_groups, training_groups


def draws(prompts: int, count: int, iterations: int, seed: int = 0) -> list[int]:
    rounds = (Round.iteration(i) for i in range(1, iterations + 1))
    return [g.index for round_ in rounds for g in training_groups(prompts, count, round_, 0, 1, seed)]


def test_every_prompt_is_drawn_once_per_epoch() -> None:
    drawn = draws(prompts=10, count=4, iterations=5)
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_an_iteration_larger_than_the_data_draws_a_prompt_again_under_another_group() -> None:
    groups = training_groups(3, 7, Round.iteration(1), 0, 1, 0)
    assert sorted(g.index for g in groups[:3]) == [0, 1, 2]
    assert len({g.group_id for g in groups}) == 7


@pytest.mark.parametrize("shards", [2, 3, 5])
def test_shards_share_the_groups_of_one_out(shards: int) -> None:
    round_ = Round.iteration(2)
    whole = {g.group_id: g.index for g in training_groups(50, 16, round_, 0, 1, 9)}
    parts = [training_groups(50, 16, round_, shard, shards, 9) for shard in range(shards)]
    assert {g.group_id: g.index for part in parts for g in part} == whole
    assert sum(map(len, parts)) == 16


def test_held_out_prompts_are_all_sampled_in_every_round() -> None:
    for round_ in (Round.iteration(1), Round.evaluation(4)):
        parts = [held_out_groups(7, round_, shard, 2, 0) for shard in range(2)]
        assert sorted(g.index for part in parts for g in part) == list(range(7))


def test_seeds_differ_by_run_seed_round_shard_and_group() -> None:
    def first(run_seed: int, round_: Round, shard: int) -> list[int]:
        return [g.seed for g in training_groups(50, 8, round_, shard, 2, run_seed)]

    assert first(0, Round.iteration(1), 0) == first(0, Round.iteration(1), 0)
    seeds = [
        *first(0, Round.iteration(1), 0),
        *first(1, Round.iteration(1), 0),
        *first(0, Round.iteration(2), 0),
        *first(0, Round.iteration(1), 1),
        *(g.seed for g in held_out_groups(8, Round.evaluation(1), 0, 1, 0)),
    ]
    assert len(set(seeds)) == len(seeds)
