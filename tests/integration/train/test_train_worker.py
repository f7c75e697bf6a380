"""The train stage's worker, which keeps the policy loaded, against a new start of the stage for every iteration."""

import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import components.train.resident
from components.contract.errors import InputError
from components.runtime.clock import Clock
from components.runtime.heartbeat import read_beat
from components.train.distributed import Processes
from components.train.iteration import train_iteration
from components.train.resident import Resident
from components.train.stage import follow
from components.train.stage import run_stage as train
from components.train.task import TrainTask
from tests.support.sampler import sampled_beside
from tests.support.trained import assert_same_state, metrics_of, state

Make = Callable[..., Any]
SETTINGS = ("loop.iterations=3", "train.learning_rate=1e-3")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The policies that are loaded for training from here on."""
    loaded: list[Path] = []
    load = components.train.resident.build_trainer

    def counted(config: Any, policy: Path, *more: Any) -> Any:
        loaded.append(policy)
        return load(config, policy, *more)

    monkeypatch.setattr("components.train.resident.build_trainer", counted)
    return loaded


@pytest.mark.parametrize(
    "more",
    [
        ("model.dtype=float32", "loop.replay={share: 0.5, iterations: 2}"),
        ("model.dtype=bfloat16", "train.checkpoint_every=1", "train.max_logprob_gap=10"),
        ("train.lora=4", "train.learning_rate=0.01"),
        ("train.guide=0.1", "loop.replay={share: 0.5, iterations: 2}"),
        ("loop.staleness=1", "model.dtype=bfloat16", "train.max_logprob_gap=10"),
    ],
    ids=["float32", "bfloat16", "adapters", "guide", "stale"],
)
def test_a_worker_trains_as_new_starts_do(training_run: Make, more: tuple[str, ...], loads: list[Path]) -> None:
    """Bit for bit, and it loads the policy once unless its memory is a guide's in between."""
    new, kept = (training_run(*SETTINGS, *more, f"run.name={name}") for name in ("new", "kept"))
    for iteration in (1, 2, 3):
        new.sample(iteration)
        train(new.run.uri, iteration)
    assert len(loads) == 3
    with sampled_beside(kept, 3):
        follow(kept.run.uri)
    assert len(loads) == (6 if kept.run.config.train.guide else 4)
    for iteration in (1, 2, 3):
        assert kept.policy(iteration).digest == new.policy(iteration).digest
        assert metrics_of(kept.run, iteration).logprob_gap_mean == metrics_of(new.run, iteration).logprob_gap_mean
        assert kept.policy(iteration).inputs == new.policy(iteration).inputs
    assert_same_state(state(kept.run, 3), state(new.run, 3))
    beat = read_beat(kept.run.store, kept.run.layout.worker("train"))
    assert beat is not None
    assert (beat.state, beat.loaded is None) == ("ended", False)


def test_a_worker_goes_on_where_tasks_have_ended(training_run: Make, loads: list[Path]) -> None:
    made = training_run(*SETTINGS)
    made.sample(1)
    train(made.run.uri, 1)
    with sampled_beside(made, 3, first=2):
        follow(made.run.uri)
    assert made.run.trained() == 3
    assert loads[1:] == [made.policy_path(1)]
    follow(made.run.uri)
    assert len(loads) == 2, "nothing is left to train"


def test_a_worker_ends_where_the_target_is_reached(training_run: Make) -> None:
    made = training_run(*SETTINGS, "loop.target_reward=0.5")
    with sampled_beside(made, 1):
        follow(made.run.uri)
    assert made.run.stopped()


def test_a_policy_that_is_not_the_one_in_memory_is_loaded(
    training_run: Make, loads: list[Path], tmp_path: Path
) -> None:
    made = training_run(*SETTINGS)
    resident = Resident(made.run, Processes.init(), tmp_path)
    resident.preload(0)
    first, _ = resident.load(0, Clock())
    assert len(loads) == 1
    resident.keep(0, str(made.policy(0).facts["weights_digest"]), 0)
    assert resident.load(0, Clock())[0] is first
    resident.keep(0, "of other weights", 0)
    assert resident.load(0, Clock())[0] is not first
    assert len(loads) == 2
    resident.load(0, Clock())
    assert len(loads) == 3, "what an iteration that failed has left behind is not used"


def test_a_shared_gpu_is_left_before_the_policy_is_committed(
    training_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU: where the trainer would be, and that moving it changes nothing."""
    made, plain = (training_run(*SETTINGS, "loop.iterations=2", f"run.name={name}") for name in ("shared", "plain"))
    resident = Resident(made.run, Processes.init(), tmp_path, shares_gpu=True)
    assert not resident.shares_gpu, "there is none"
    resident.shares_gpu = True
    resident.processes = replace(resident.processes, device=torch.device("cpu", 0))  # stands for the GPU
    order: list[str] = []
    record("components.train.resident.move_trainer", lambda _, device: f"to {device}", order, monkeypatch)
    record("components.train.iteration.update_policy", lambda *_: "update", order, monkeypatch)
    record("components.train.task.TrainTask.commit_policy", lambda *_: "commit", order, monkeypatch)
    resident.preload(0)
    for iteration in (1, 2):
        made.sample(iteration)
        task = TrainTask.find(made.run, iteration).claimed(made.run.claim("train"))
        train_iteration(task, Clock(), resident)
        plain.sample(iteration)
        train(plain.run.uri, iteration)
        del order[-2:]  # of the other run
    assert order == ["update", "to cpu", "commit", "to cpu:0", "update", "to cpu", "commit"]
    assert made.policy(2).digest == plain.policy(2).digest


def record(target: str, what: Callable[..., str], order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a function note in `order` that it is called."""
    module, _, name = target.rpartition(".")
    original = pkgutil.resolve_name(target)

    def recorded(*arguments: Any, **named: Any) -> Any:
        order.append(what(*arguments))
        return original(*arguments, **named)

    monkeypatch.setattr(pkgutil.resolve_name(module), name, recorded)


def test_results_go_to_mlflow_after_every_commit_and_each_iteration_is_announced(
    training_run: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = training_run(*SETTINGS)
    sent: list[int] = []
    monkeypatch.setattr("components.train.aftermath.sync", lambda run: sent.append(run.trained()))
    monkeypatch.setenv("RAPID_EVENTS", "1")
    with sampled_beside(made, 3):
        follow(made.run.uri)
    assert len(sent) == 3
    assert sent[-1] == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if '"iteration"' in line] == [
        f'{{"rapid": "iteration", "number": {number}}}' for number in (1, 2, 3)
    ]


def test_an_iteration_and_following_exclude_each_other(training_run: Make) -> None:
    made = training_run(*SETTINGS, "train.nodes=2")
    with pytest.raises(InputError, match=r"train\.nodes = 2, but this is one process on one machine"):
        follow(made.run.uri)
