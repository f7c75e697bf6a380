"""kill -9 in the middle of an iteration, and the same command again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.metrics import TrainMetrics
from components.train.stage import run_stage as train
from components.train.trainer import update_policy
from tests.support.trained import assert_same_state, metrics_of, state

Make = Callable[..., Any]
SETTINGS = ("train.updates=40", "train.mini_batch_prompts=1", "train.learning_rate=1e-3")


def start(uri: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "components.train", uri, "--iteration", "1"],
        env={**os.environ, "RAPID_EVENTS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(uri: str) -> str:
    """Run the command to its end and return what it printed."""
    process = start(uri)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def kill_after(process: subprocess.Popen[str], steps: int) -> None:
    """SIGKILL once so many steps are reported."""
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["rapid"] == "progress" and event["done"] >= steps:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("checkpoint_every", [0, 3])
def test_a_killed_iteration_makes_the_same_policy_when_started_again(training_run: Make, checkpoint_every: int) -> None:
    """Bit for bit: with checkpoints it goes on after the last one, without it begins again; both end at one place."""
    made = training_run(*SETTINGS, f"train.checkpoint_every={checkpoint_every}", "train.updates.until_share=0.65")
    made.sample(groups=40)
    directory = made.run.directory(made.run.layout.train(1))

    kill_after(start(made.run.uri), steps=10 if checkpoint_every else 1)
    assert directory.manifest() is None

    output = finish(made.run.uri)
    went_on = "training goes on after mini-batch " in output
    assert went_on == bool(checkpoint_every)
    interrupted = directory.require()
    metrics = TrainMetrics.model_validate_json(directory.read("metrics.json"))
    taken = interrupted.facts["step"]
    assert 20 < taken < 40
    assert [step.step for step in metrics.steps] == list(range(1, taken + 1))
    assert not made.run.store.list(made.run.layout.checkpoints(1))
    interrupted_state, policy = state(made.run, 1), made.policy(1)

    # The same work in a run that nobody interrupts.
    for info in made.run.store.list(directory.key):
        made.run.store.delete(info.key)
    finish(made.run.uri)
    assert_same_state(interrupted_state, state(made.run, 1))
    assert metrics_of(made.run).unused_groups == metrics.unused_groups == 40 - taken
    assert made.policy(1).digest == policy.digest


def test_a_checkpoint_of_other_settings_is_passed_over(training_run: Make) -> None:
    made = training_run(*SETTINGS, "train.checkpoint_every=1")
    made.sample(groups=40)
    kill_after(start(made.run.uri), steps=3)
    assert made.run.store.list(made.run.layout.checkpoints(1))
    again = training_run(*SETTINGS, "train.checkpoint_every=1", "train.learning_rate=1e-4", base=False)
    manifest = train(again.run.uri, 1)
    metrics = TrainMetrics.model_validate_json(
        again.run.directory(again.run.layout.train(1)).read("metrics.json", manifest)
    )
    assert {step.learning_rate for step in metrics.steps} == {1e-4}


def test_checkpoints_that_a_kill_after_the_commit_left_are_removed(training_run: Make) -> None:
    made = training_run("train.checkpoint_every=1")
    made.sample()
    done = train(made.run.uri, 1)
    made.run.store.write(f"{made.run.layout.checkpoint(1, 1)}/state/__0_0.distcp", b"left behind")
    assert train(made.run.uri, 1) == done
    assert not made.run.store.list(made.run.layout.checkpoints(1))


def test_files_of_a_killed_upload_are_replaced(training_run: Make) -> None:
    made = training_run()
    made.sample()
    killed = made.run.claim("train").folder
    directories = made.run.layout.policy(1), made.run.layout.train(1)
    left = [f"{directory}/{killed}/optimizer/__0_0.distcp" for directory in directories]
    for key in left:
        made.run.store.write(key, b"half a file")
    train(made.run.uri, 1)
    assert not any(map(made.run.store.exists, left))
    made.sample(2)
    assert train(made.run.uri, 2).facts["policy_version"] == 2


@pytest.fixture
def killed_after_its_policy(training_run: Make, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run whose first iteration ended after its policy was committed and before its optimizer was; 2 is sampled."""
    made = training_run("loop.iterations=2", "train.learning_rate=1e-3")
    made.sample(1)
    monkeypatch.setattr("components.train.iteration._upload_state", killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(made.run.uri, 1)
    monkeypatch.undo()
    assert (made.run.policy_version(), made.run.trained()) == (1, 0)
    made.sample(2)
    return made


def killed(*_: Any) -> None:
    raise RuntimeError("killed")


def rollout_of(made: Any, iteration: int) -> Any:
    return made.run.directory(made.run.layout.rollout(Round.iteration(iteration), 0))


def test_a_policy_without_its_optimizer_is_trained_again_and_what_it_has_sampled_stays(
    killed_after_its_policy: Any,
) -> None:
    made = killed_after_its_policy
    policy, sampled = made.policy(1), rollout_of(made, 2).require()
    train(made.run.uri, 1)
    assert made.policy(1) == policy
    assert rollout_of(made, 2).require() == sampled
    assert train(made.run.uri, 2).facts["step"] == 4


def test_weights_that_differ_replace_the_policy_and_discard_what_it_has_sampled(
    killed_after_its_policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = killed_after_its_policy
    old = made.policy(1).facts["weights_digest"]

    def otherwise(trainer: Any, *more: Any) -> Any:
        with torch.no_grad():
            trainer.policy.model.get_input_embeddings().weight.add_(1e-3)
        return update_policy(trainer, *more)

    monkeypatch.setattr("components.train.iteration.update_policy", otherwise)
    monkeypatch.setattr("components.train.trainer.check_logprob_gap", lambda *_: None)
    train(made.run.uri, 1)
    monkeypatch.undo()
    assert made.policy(1).facts["weights_digest"] != old
    assert made.run.fetch_policy(1, Path("/nonexistent")).name == "attempt-0002"
    for directory in (made.run.layout.rollout, made.run.layout.reward):
        assert not made.run.store.list(directory(Round.iteration(2), 0))
    # A rollout that went on with the discarded policy is too late.
    made.sample(2, facts=lambda facts: facts | {"weights_digest": old})
    with pytest.raises(InputError, match=f"was sampled with weights_digest {old}, but its behaviour policy has"):
        train(made.run.uri, 2)


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
