"""A run that an older version began is refused in one line, whatever is asked of it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.contract.errors import InputError
from components.contract.layout import MANIFEST, Round
from components.prepare.stage import run_stage as prepare
from components.publish.stage import run_stage as publish
from components.reward.stage import run_stage as reward
from components.rollout.stage import run_stage as rollout
from components.store import Run, open_run
from components.train.stage import run_stage as train
from pipelines.cli.main import app
from tests.support.fake_run import finished_run

REFUSED = r"demo/config.json was written by another version of RAPID \(format 1, this one reads 3\); start a new run"


@pytest.fixture
def older(tmp_path: Path) -> Run:
    """A finished run of version 1, with a key in its configuration that has been removed since."""
    run = finished_run(tmp_path / "store").run
    for info in run.store.list(run.layout.root):
        if info.key.endswith(MANIFEST):
            manifest = json.loads(run.store.read(info.key))
            run.store.write(info.key, json.dumps({**manifest, "version": 1}).encode())
    config = json.loads(run.store.read(run.layout.config))
    config["version"] = 1
    config["train"]["removed"] = 1
    run.store.write(run.layout.config, json.dumps(config).encode())
    return run


@pytest.mark.parametrize(
    "start",
    [
        lambda run: prepare(run.config),
        lambda run: rollout(run.uri, Round.iteration(1), 0),
        lambda run: reward(run.uri, Round.iteration(1), 0),
        lambda run: train(run.uri, 1),
        lambda run: publish(run.uri),
        lambda run: open_run(run.uri),
    ],
)
def test_every_stage_refuses_it(older: Run, start: Callable[[Run], object]) -> None:
    with pytest.raises(InputError, match=REFUSED) as refused:
        start(older)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("command", ["status", "rewards", "trajectories"])
def test_every_command_refuses_it(older: Run, command: str) -> None:
    done = CliRunner().invoke(app, [command, older.uri])
    assert isinstance(done.exception, InputError)
    assert re.search(REFUSED, str(done.exception))


def test_it_is_not_run_again(older: Run, tmp_path: Path) -> None:
    config = tmp_path / "again.yaml"
    config.write_text(older.config.model_dump_json())
    done = CliRunner().invoke(app, ["run", str(config)])
    assert isinstance(done.exception, InputError)
    assert re.search(REFUSED.partition(" ")[2], str(done.exception))  # whichever file is read first
