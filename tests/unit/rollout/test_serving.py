"""A rollout worker whose inputs are gone."""

from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.rollout.stage import Rollout
from components.runtime.failure import read_failure
from components.runtime.worker import Worker
from components.store import Attempt
from tests.support.fake_run import prepared_run


def test_rewards_of_a_trained_iteration_that_are_gone_end_the_run(tmp_path: Path) -> None:
    """Nothing makes them again, so that the worker would ask for them for ever."""
    fake = prepared_run(tmp_path, rollout={"guide": 0.5, "shards": 1})
    run = fake.run
    fake.iteration(1)
    run.directory(run.layout.reward(Round.iteration(1), 0)).discard()
    rollout, asked = Rollout(run), []

    def sample(round_: Round, shard: int, attempt: Attempt) -> Manifest:
        asked.append(round_)
        assert len(asked) == 1, "it asks again at once"
        return rollout.sample(round_, shard, attempt)

    with (
        pytest.raises(InputError, match="iterations/0001/reward/shard-000 has no manifest"),
        Worker(run, "rollout", [0]) as worker,
    ):
        worker.serve_shards(sample)
    failure = read_failure(run)
    assert failure is not None
    assert "iterations/0001/reward/shard-000" in failure.message
