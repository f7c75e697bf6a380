"""Replayed groups: how they are chosen, left out and dealt, and that their gradient has no bias."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from components.contract.config import ReplaySection, RunConfig
from components.contract.train_config import TrainSection
from components.train.batching import MicroBatchLimits, build_mini_batch
from components.train.build_objective import build_objective
from components.train.distributed import Processes
from components.train.logprobs import LogprobModel
from components.train.loss import LossTerms, accumulate_gradient
from components.train.replay import Replayed, Source, choose, deal, measure_replayed
from components.train.scoring import log_ratios
from components.train.trajectories import Trajectories
from tests.support.fake_run import make_config
from tests.support.tiny_policy import VOCABULARY, tiny_model

ALONE = Processes(0, 1, torch.device("cpu"))
Make = Callable[..., Trajectories]


def config(updates: int = 4, **replay: Any) -> RunConfig:
    train = {"updates": updates, "mini_batch_prompts": 2}
    return make_config("store", train=train, rollout={"shards": 1}, loop={"replay": {"share": 0.5, **replay}})


def rows_of(data: Trajectories, group: int) -> list[tuple[Any, ...]]:
    """The group's completions with everything that belongs to them."""
    rows = range(group * data.group_size, (group + 1) * data.group_size)
    return [
        (
            data.tokens[data.starts[row] : data.starts[row + 1]].tolist(),
            int(data.prompt_lengths[row]),
            data.behaviour_logprobs[data.behaviour_starts[row] : data.behaviour_starts[row + 1]].tolist(),
            float(data.rewards[row]),
            bool(data.truncated[row]),
        )
        for row in rows
    ]


def test_groups_are_chosen_once_with_all_that_belongs_to_them(make_trajectories: Make) -> None:
    parts = {Source(1): make_trajectories(groups=3, seed=1), Source(run="a"): make_trajectories(groups=3, seed=2)}
    chosen = choose(parts, config(), 3)
    assert chosen is not None
    pool = [(source, rows_of(part, group)) for source, part in parts.items() for group in range(3)]
    found = [(chosen.sources[place], rows_of(chosen.data, group)) for group, place in enumerate(chosen.source)]
    assert len(found) == 4  # one for each update
    assert all(pair in pool for pair in found)
    assert len({str(pair) for pair in found}) == 4
    again, other = choose(parts, config(), 3), choose(parts, config(), 4)
    assert again is not None
    assert other is not None
    np.testing.assert_array_equal(chosen.data.tokens, again.data.tokens)
    assert chosen.data.tokens.tolist() != other.data.tokens.tolist()
    everything = choose(parts, config(updates=100), 3)
    assert everything is not None
    assert everything.data.groups == 6


def test_groups_with_much_to_learn_from_are_chosen_more_often(make_trajectories: Make) -> None:
    data = make_trajectories(groups=3)
    data.rewards.reshape(3, 4)[:] = [[1, 1, 1, 1], [0, 0, 1, 1], [0.4, 0.4, 0.6, 0.6]]

    def drawn(choice: str) -> np.ndarray:
        counts = np.zeros(3)
        for iteration in range(2, 302):
            chosen = choose({Source(1): data}, config(updates=1, choice=choice), iteration)
            assert chosen is not None
            counts[[1.0, 0.0, np.float32(0.4)].index(chosen.data.rewards[0])] += 1
        return counts / counts.sum()

    np.testing.assert_allclose(drawn("uniform"), [1 / 3] * 3, atol=0.1)
    np.testing.assert_allclose(drawn("advantage"), [0, 5 / 6, 1 / 6], atol=0.1)
    data.rewards[:] = 1.0
    assert choose({Source(1): data}, config(choice="advantage"), 2) is None


def test_replayed_groups_are_dealt_evenly_and_no_mini_batch_gets_more_than_its_share() -> None:
    own = [np.array([2, 0]), np.array([1, 3]), np.array([4, 5])]
    assert [batch.tolist() for batch in deal(own, 6, [0, 2, 3, 4, 5, 7], 2)] == [
        [2, 0, 6, 8],
        [1, 3, 9, 10],
        [4, 5, 11, 13],
    ]
    assert [len(batch) for batch in deal(own, 6, [0, 1], 2)] == [3, 3, 2]
    assert [len(batch) for batch in deal(own[:1], 6, list(range(6)), 2)] == [4]
    assert deal([], 6, [0], 2) == []


def test_groups_whose_weights_have_collapsed_are_left_out_and_counted(make_trajectories: Make) -> None:
    replayed = Replayed(make_trajectories(groups=4), (Source(1), Source(run="a")), np.array([0, 1, 0, 1]))
    log_ratio_N = torch.tensor([[0.0, 0.1, -0.1, 0.0], [-9.0] * 4, [-30.0, -30.0, -30.0, 25.0], [-1.0] * 4]).flatten()
    kept, metrics = measure_replayed(replayed, log_ratio_N, ReplaySection(min_weight=0.3), 2.0)
    assert kept == [0, 3]  # 2 has one weight that outgrows all others: (0 + 0 + 0 + 1) / 4
    assert [(m.age, m.run, m.groups, m.left_out) for m in metrics] == [(1, None, 2, 1), (None, "a", 2, 1)]
    assert metrics[1].log_ratio_mean == pytest.approx(5.0)
    weights = np.exp([-9.0] * 4 + [-1.0] * 4)
    assert metrics[1].effective_sample_share == pytest.approx(weights.sum() ** 2 / (8 * (weights**2).sum()), rel=1e-5)


PROMPT = 3


def every_completion(doubled: tuple[int, int], named: tuple[int, int] | None = None) -> Trajectories:
    """A group that holds each completion of two tokens as often as a policy draws it that prefers two of the tokens.

    Means over the group are expectations under that policy, exactly. Log-probabilities are those of the policy that
    prefers the tokens `named`, by default the same.
    """
    tokens = [*range(VOCABULARY), *doubled]
    drawn = list(itertools.product(tokens, repeat=2))
    believed = [*range(VOCABULARY), *(named or doubled)]
    logprobs = [np.log(believed.count(token) / len(believed)) for pair in drawn for token in pair]
    return Trajectories(
        tokens=np.array([(PROMPT, *pair) for pair in drawn], dtype=np.int64).ravel(),
        starts=np.arange(len(drawn) + 1) * 3,
        prompt_lengths=np.ones(len(drawn), dtype=np.int64),
        behaviour_logprobs=np.array(logprobs, dtype=np.float32),
        behaviour_starts=np.arange(len(drawn) + 1) * 2,
        rewards=np.array([(7 * a + 3 * b) % 11 / 10 for a, b in drawn], dtype=np.float32),
        truncated=np.zeros(len(drawn), dtype=bool),
        group_size=len(drawn),
        group_ids=np.array(["every"], dtype=object),
    )


def true_gradient(model: torch.nn.Module, every: Trajectories) -> torch.Tensor:
    """The gradient of the policy's mean reward, each of its completions counted once with its own probability."""
    pairs, first = np.unique(every.tokens.reshape(-1, 3), axis=0, return_index=True)
    logprobs = model(torch.from_numpy(pairs)).logits[:, :-1].log_softmax(-1)
    chosen = logprobs.gather(-1, torch.from_numpy(pairs[:, 1:, None])).squeeze(-1).sum(1)
    (chosen.exp() * torch.from_numpy(every.rewards[first])).sum().backward()
    return taken_gradient(model)


def taken_gradient(model: torch.nn.Module) -> torch.Tensor:
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return gradient


def test_the_gradient_of_old_and_new_groups_has_no_bias() -> None:
    """All completions can be listed, so expectations are sums; truncation, which has a bias, is off."""
    model = tiny_model(1)
    policy = LogprobModel(model, 1.0, 10_000, torch.float32, "auto")
    own, old = every_completion((0, 1)), every_completion((5, 5))
    settings = config(updates=1, min_weight=0.0)
    replayed = choose({Source(1): old}, settings, 2)
    assert replayed is not None
    assert settings.loop.replay is not None
    ratios = log_ratios(policy, replayed.data, settings, ALONE)
    kept, (measured,) = measure_replayed(replayed, ratios, settings.loop.replay, None)
    assert measured.log_ratio_mean > 0.5
    (groups,) = deal([np.array([0])], own.groups, kept, settings.replayed_groups)
    assert groups.tolist() == [0, 1]

    def gradient(data: Trajectories) -> torch.Tensor:
        objective = build_objective(TrainSection(objective={"name": "rapid", "truncation": "off"}))
        batch = build_mini_batch(data, groups, MicroBatchLimits(512, False), ALONE)
        accumulate_gradient(policy, batch, LossTerms(objective, 2), ALONE)
        return -taken_gradient(model)

    truth = true_gradient(model, own)
    both = own.followed_by(replayed.data)
    assert (gradient(both) - truth).norm() < 1e-4 * truth.norm()
    # Weighted as if the newest policy had drawn all of them, they would have one.
    confused = own.followed_by(every_completion((5, 5), named=(0, 1)))
    assert (gradient(confused) - truth).norm() > 0.02 * truth.norm()
