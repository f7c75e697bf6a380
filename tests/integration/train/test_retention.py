"""The policies and optimizer states that a run keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.contract.errors import InputError
from components.runtime.clock import Clock
from components.train.distributed import Processes
from components.train.resident import Resident
from components.train.retention import delete_outdated
from components.train.stage import run_stage as train

Make = Callable[..., Any]
Rows = list[dict[str, Any]]


def stored(made: Any, version: int) -> tuple[bool, bool]:
    """Return whether a policy is there, and the optimizer's state beside it."""
    names = [info.key for info in made.run.store.list(made.run.layout.train(version))]
    return any("model.safetensors" in name for name in names), any("/optimizer/" in name for name in names)


def grow(made: Any, first: int, last: int, best: int | None = None) -> None:
    """Train iterations; the policy `best` passes on held-out prompts, the others do not."""
    for iteration in range(first, last + 1):
        made.sample(iteration, rewards=_passing if iteration - 1 == best else _failing)
        train(made.run.uri, iteration)


def _failing(rewards: Rows) -> Rows:
    return rewards


def _passing(rewards: Rows) -> Rows:
    held_out = max(row["group_id"] for row in rewards)
    return [row | {"reward": 1.0} if row["group_id"] == held_out else row for row in rewards]


def test_all_policies_and_two_optimizer_states_are_kept_by_default(training_run: Make, tmp_path: Path) -> None:
    made = training_run("loop.iterations=4")
    grow(made, 1, 4)
    assert [stored(made, version) for version in (1, 2, 3, 4)] == [(True, False)] * 2 + [(True, True)] * 2
    assert made.run.trained() == 4
    with pytest.raises(InputError, match=r"has no optimizer state any more: only those of the two newest iterations"):
        Resident(made.run, Processes.init(), tmp_path / "scratch").load(2, Clock())


def test_only_the_newest_and_the_best_policies_are_kept_where_that_is_asked_for(
    training_run: Make, tmp_path: Path
) -> None:
    made = training_run("loop.iterations=6", "train.keep_policies=2")
    grow(made, 1, 2)
    made.run.mark_published(2)
    grow(made, 3, 4, best=3)
    # Of equal ones the earliest is the best.
    assert [stored(made, version)[0] for version in (1, 2, 3, 4)] == [True, True, True, True]
    assert made.run.marked_best() == [1]
    grow(made, 5, 6)
    assert [stored(made, version)[0] for version in (1, 2, 3, 4, 5, 6)] == [False, True, True, False, True, True]
    assert made.run.marked_best() == [3]
    assert (made.run.policy_version(), made.run.trained()) == (6, 6)
    assert made.run.fetch_policy(0, tmp_path / "base").exists()
    with pytest.raises(InputError, match=r"policy 4 of .* is gone: train\.keep_policies keeps the newest 2, the base"):
        made.run.fetch_policy(4, tmp_path / "gone")


def test_what_a_killed_deletion_has_left_goes_with_the_next(training_run: Make) -> None:
    """Switched on late, too: it goes down as far as there is anything."""
    made = training_run("loop.iterations=4")
    grow(made, 1, 4, best=2)
    made = training_run("loop.iterations=4", "train.keep_policies=2", base=False)
    for version in (1, 2):  # killed between the mark of the new one and that of the old one
        made.run.mark_best(version)
    delete_outdated(made.run, 4)
    assert [stored(made, version)[0] for version in (1, 2, 3, 4)] == [False, True, True, True]
    assert made.run.marked_best() == [2]
