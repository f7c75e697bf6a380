"""kill -9 in the middle of a pass, and the same command again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.train.stage import run as train

Make = Callable[..., Any]
SETTINGS = ("train.updates=40", "train.mini_batch_prompts=1", "train.learning_rate=1e-3")


def start(uri: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "components.train", uri, "--iteration", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAPID_EVENTS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_pass_makes_the_same_policy_when_started_again(training_run: Make) -> None:
    made = training_run(*SETTINGS)
    made.sample(groups=40)
    directory = made.run.directory(made.run.layout.train(1))

    killed = start(made.run.uri)
    assert killed.stdout is not None
    for line in killed.stdout:
        event = json.loads(line)
        if event["rapid"] == "progress" and event["done"] >= 1:
            killed.send_signal(signal.SIGKILL)
            break
    killed.wait()
    assert killed.returncode == -signal.SIGKILL
    assert directory.manifest() is None

    again = start(made.run.uri)
    output, _ = again.communicate()
    assert again.returncode == 0, output
    interrupted = directory.require()
    assert interrupted.facts["step"] == 40

    # The same work in a run that nobody interrupts.
    for info in made.run.store.list(directory.key):
        made.run.store.delete(info.key)
    undisturbed = train(made.run.uri, 1)
    for below in ("policy/", "optimizer/"):
        one, other = (
            {o.path: o.sha256 for o in manifest.outputs if o.path.startswith(below)}
            for manifest in (interrupted, undisturbed)
        )
        assert one == other


def test_leftovers_of_a_killed_upload_are_replaced(training_run: Make) -> None:
    made = training_run()
    made.sample()
    for name in ("policy/model.safetensors", "optimizer/adamw.safetensors"):
        made.run.store.write(f"{made.run.layout.train(1)}/{name}", b"half a file")
    train(made.run.uri, 1)
    made.sample(2)
    assert train(made.run.uri, 2).facts["policy_version"] == 2


def test_the_command_line_explains_bad_input_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "components.train", f"{tmp_path}/runs/none", "--iteration", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no run at")
    assert len(done.stderr.splitlines()) == 1
