"""A run is what it holds: it goes on where its store was copied to, and after rounds that were made again."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.store import Store, open_run, open_store
from components.train.stage import run_stage as train

AT = Round.iteration(1)
Make = Callable[..., Any]


def copy(source: Store, target: str) -> None:
    for info in source.list(""):
        open_store(target).write(info.key, source.read(info.key))


@pytest.mark.parametrize("elsewhere", ["directory", "moto"])
def test_a_copied_run_goes_on(
    training_run: Make, elsewhere: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made = training_run("train.checkpoint_every=1")
    made.sample(1)
    first = train(made.run.uri, 1)
    target = str(tmp_path / "there") if elsewhere == "directory" else f"{request.getfixturevalue('moto')}/there"
    copy(made.run.store, target)

    made.sample(2)
    train(made.run.uri, 2)
    there = made.policy(2)
    shutil.rmtree(tmp_path / "store")
    copied = replace(made, run=open_run(f"{target}/runs/example"))
    assert train(copied.run.uri, 1) == first, "committed, from inputs that fit"
    copied.sample(2)
    train(copied.run.uri, 2)
    assert (copied.policy(2).digest, copied.policy(2).inputs) == (there.digest, there.inputs)


def test_a_policy_fits_the_round_that_was_made_again(training_run: Make) -> None:
    def again(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows in another order, so in other parts, with the rounding of another batch."""
        return [row | {"behaviour_logprobs": [x - 1e-6 for x in row["behaviour_logprobs"]]} for row in reversed(rows)]

    made = training_run()
    made.sample(1)
    first = train(made.run.uri, 1)
    for key in (made.run.layout.reward(AT, 0), made.run.layout.rollout(AT, 0)):
        made.run.directory(key).discard()
    made.sample(1, rows=again, rewards=lambda rows: [row | {"seconds": 9.0} for row in rows])
    assert train(made.run.uri, 1) == first
    for key in (made.run.layout.reward(AT, 0), made.run.layout.rollout(AT, 0)):
        made.run.directory(key).discard()
    made.sample(1, rewards=lambda rows: [row | {"reward": 9.0} for row in rows])
    with pytest.raises(InputError, match=r"was committed from other inputs \(rewards/000\)"):
        train(made.run.uri, 1)
