"""Engines whose weights are not those of the policy that they name: an update missed, half done or done twice."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from components.contract.errors import InputError
from components.train.stage import run_stage as train
from tests.support.trained import metrics_of, weights

Make = Callable[..., Any]
Weights = dict[str, torch.Tensor]


def half(old: Weights, new: Weights) -> Weights:
    names = sorted(old)
    return {name: (new if names.index(name) % 2 else old)[name] for name in names}


ENGINES: dict[str, Callable[[Weights, Weights], Weights]] = {
    "missed": lambda old, _: old,
    "half": half,
    "one tensor": lambda old, new: new | {name: old[name] for name in old if "layers.1.self_attn.q_proj" in name},
    "doubled": lambda old, new: {name: old[name] + 2 * (new[name] - old[name]) for name in old},
}


@pytest.fixture
def trained(training_run: Make) -> Any:
    """A run whose first iteration, of two updates at a usual rate for a model of this size, is trained."""
    made = training_run("train.learning_rate=1e-3")
    made.sample(1)
    train(made.run.uri, 1)
    return made


def engine_with(made: Any, tensors: Weights, directory: Path) -> Path:
    shutil.copytree(made.policy_path(1), directory)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.mark.parametrize("update", ENGINES)
def test_an_update_of_the_engine_that_went_wrong_is_refused(trained: Any, tmp_path: Path, update: str) -> None:
    tensors = ENGINES[update](weights(trained.run, 0), weights(trained.run, 1))
    trained.sample(2, engine=engine_with(trained, tensors, tmp_path / "engine"))
    with pytest.raises(InputError, match=r"disagree by .* more than 0\.001 \(train\.max_logprob_gap\)"):
        train(trained.run.uri, 2)
    assert trained.run.policy_version() == 1


def test_the_right_weights_are_accepted_with_a_wide_margin(trained: Any, tmp_path: Path) -> None:
    trained.sample(2, engine=engine_with(trained, weights(trained.run, 1), tmp_path / "engine"))
    train(trained.run.uri, 2)
    assert metrics_of(trained.run, 2).logprob_gap_mean < 1e-5
