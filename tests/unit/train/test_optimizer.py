"""AdamW, its schedule, and its state through files."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from components.contract.train_config import TrainSection
from components.train.checkpoint import load_state, save_state
from components.train.distributed import Processes
from components.train.optimizer import build_optimizer, learning_rate
from tests.support.tiny_policy import tiny_model

ALONE = Processes(0, 1, torch.device("cpu"))


def rates(steps: int, total: int, **settings: object) -> list[float]:
    section = TrainSection.model_validate({"learning_rate": 1.0, **settings})
    return [learning_rate(section, total, step) for step in range(1, steps + 1)]


def test_constant_after_warm_up() -> None:
    assert rates(6, 6, warmup_steps=4) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


def test_linear_falls_to_the_minimum_after_the_last_step() -> None:
    assert rates(5, 4, schedule="linear", min_learning_rate=0.2) == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_cosine_after_warm_up() -> None:
    wanted = [0.5, 1.0, 1.0, (1 + 2**-0.5) / 2, 0.5, (1 - 2**-0.5) / 2, 0.0, 0.0]
    assert rates(8, 6, schedule="cosine", warmup_steps=2) == pytest.approx(wanted)


def test_weight_decay_spares_vectors() -> None:
    model = tiny_model()
    optimizer = build_optimizer(model, TrainSection(weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in decayed) == (parameter.ndim >= 2), name
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def steps(model: torch.nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    for _ in range(count):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()


@pytest.mark.parametrize("with_weights", [True, False])
def test_state_goes_through_files_bit_for_bit(tmp_path: Path, with_weights: bool) -> None:
    section = TrainSection(learning_rate=1e-2, weight_decay=0.1)
    model = tiny_model()
    optimizer = build_optimizer(model, section)
    steps(model, optimizer, 3)
    save_state(tmp_path, model, optimizer, 3, with_weights, ALONE)
    resumed = copy.deepcopy(model)
    if with_weights:
        with torch.no_grad():
            for parameter in resumed.parameters():
                parameter.zero_()
    fresh = build_optimizer(resumed, section)
    assert load_state(tmp_path, resumed, fresh, ALONE) == 3
    steps(model, optimizer, 2)
    steps(resumed, fresh, 2)
    for one, other in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "__0_0.distcp").symlink_to("/dev/full")
    model = tiny_model()
    with pytest.raises(OSError, match="No space left on device"):
        save_state(tmp_path, model, build_optimizer(model, TrainSection()), 0, True, ALONE)


@pytest.mark.parametrize("make", [lambda: tiny_model(0, "llama", tie_word_embeddings=False), lambda: tiny_model(0)])
def test_nothing_is_saved_before_the_first_step(tmp_path: Path, make: Callable[[], torch.nn.Module]) -> None:
    model = make()
    optimizer = build_optimizer(model, TrainSection())
    save_state(tmp_path, model, optimizer, 0, False, ALONE)
    fresh = build_optimizer(model, TrainSection())
    assert load_state(tmp_path, model, fresh, ALONE) == 0
    assert not fresh.state
