"""A run whose store was copied elsewhere goes on there, and is the same run."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.store import Store, open_run, open_store
from components.train.stage import run_stage as train

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
