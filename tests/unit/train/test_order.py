"""Which groups the mini-batches of an iteration consist of."""

from collections.abc import Callable

import numpy as np
import pytest

from components.contract.errors import InputError
from components.contract.train_config import OverlongSection
from components.train.order import order_mini_batches, shape_rewards
from components.train.trajectories import Trajectories
from tests.support.fake_run import make_config

Make = Callable[..., Trajectories]


def order(data: Trajectories, updates: int, per_update: int, drop: bool = False, seed: int = 1, iteration: int = 2):
    handling = "drop" if drop else "keep"
    train = {"updates": updates, "mini_batch_prompts": per_update, "zero_signal_groups": handling}
    config = make_config("store", train=train)
    run = config.run.model_copy(update={"seed": seed})
    return order_mini_batches(data, config.model_copy(update={"run": run}), iteration)


def test_order_is_seeded_and_uses_each_group_at_most_once(make_trajectories: Make) -> None:
    data = make_trajectories(groups=12)
    first = np.array(order(data, 4, 3).mini_batches)
    assert first.shape == (4, 3)
    assert sorted(first.ravel()) == list(range(12))
    np.testing.assert_array_equal(first, order(data, 4, 3).mini_batches)
    assert (first != np.array(order(data, 4, 3, iteration=3).mini_batches)).any()
    assert (first != np.array(order(data, 4, 3, seed=2).mini_batches)).any()


def test_too_few_groups_are_refused(make_trajectories: Make) -> None:
    with pytest.raises(InputError, match=r"iteration 2 has 11 groups, but train.updates.most 4 .* need 12"):
        order(make_trajectories(groups=11), 4, 3)


def test_zero_signal_groups_are_counted_and_dropped_where_asked(make_trajectories: Make) -> None:
    data = make_trajectories(groups=12)
    data.rewards.reshape(12, 4)[[2, 5, 7]] = 0.25
    kept, dropped = order(data, 4, 3), order(data, 4, 3, drop=True)
    assert (kept.zero_signal_groups, kept.dropped, len(kept.mini_batches)) == (3, 0, 4)
    assert (dropped.zero_signal_groups, dropped.dropped, len(dropped.mini_batches)) == (3, 3, 3)
    # The others keep their order.
    whole = [g for g in np.concatenate(kept.mini_batches) if g not in (2, 5, 7)]
    assert np.concatenate(dropped.mini_batches).tolist() == whole
    # Drawn in excess, they fill all mini-batches; too few for one make a smaller one; none make none.
    assert len(order(data, 3, 3, drop=True).mini_batches) == 3
    assert [len(batch) for batch in order(data, 1, 10, drop=True).mini_batches] == [9]
    data.rewards[:] = 1.0
    assert order(data, 4, 3, drop=True).mini_batches == []


def test_truncated_completions_are_penalised_where_asked(make_trajectories: Make) -> None:
    data = make_trajectories()
    assert data.truncated.any()
    shaped = shape_rewards(data, OverlongSection(handling="penalise", penalty=0.5))
    np.testing.assert_allclose(shaped.rewards, data.rewards - 0.5 * data.truncated)
    assert shape_rewards(data, OverlongSection(handling="mask")) is data
