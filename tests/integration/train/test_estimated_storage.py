"""The estimate of a run's storage, against what the stages have written."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from components.contract.manifest import Manifest
from components.train.stage import run_stage as train
from pipelines.estimates.model_shape import ModelShape
from pipelines.estimates.storage_estimate import estimate_storage
from pipelines.estimates.work_estimate import estimate_work
from tests.support.trained import NOWHERE, state, weights

PER_TENSOR = 4096
"""Bytes of names, places and padding that file formats add to a tensor, which count only where tensors are tiny."""


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def size_of(manifest: Manifest, below: str) -> int:
    return sum(output.size for output in manifest.outputs if output.name.startswith(below))


@pytest.mark.parametrize(
    "words",
    [("model.dtype=float32",), ("model.dtype=bfloat16",), ("model.dtype=float32", "train.lora=4")],
    ids=["float32", "bfloat16", "lora"],
)
def test_policy_and_optimizer_hold_as_many_bytes_as_estimated(
    training_run: Callable[..., Any], words: tuple[str, ...]
) -> None:
    made = training_run(*words, "train.updates=2", "train.mini_batch_prompts=2", "train.max_logprob_gap=10")
    made.sample()
    manifest = train(made.run.uri, 1)
    config = made.run.config
    shape = ModelShape.of(json.loads((made.policy_path(1) / "config.json").read_text()), "the tiny policy")
    kept = estimate_storage(config, shape, estimate_work(config))
    policy, optimizer = weights(made.run, 1), state(made.run, 1)
    optimizer.pop("step")
    adapters = made.run.directory(made.run.layout.train(1)).fetch(NOWHERE, "adapter") / "adapter_model.safetensors"
    continues = [*optimizer.values(), *(load_file(adapters).values() if config.train.lora else ())]
    assert bytes_of(policy.values()) == kept.policy
    assert bytes_of(continues) == kept.optimizer + kept.adapters
    written = size_of(manifest, "optimizer/") + size_of(manifest, "adapter/adapter_model")
    assert bytes_of(continues) <= written < bytes_of(continues) + PER_TENSOR * len(continues)
