"""Readers of a train stage's output in a local store."""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from components.contract.metrics import TrainMetrics
from components.store import Run


def metrics_of(run: Run, iteration: int = 1) -> TrainMetrics:
    return TrainMetrics.model_validate_json(run.directory(run.layout.train(iteration)).read("metrics.json"))


def weights(run: Run, version: int) -> dict[str, torch.Tensor]:
    """Return the tensors of a policy by name."""
    policy = run.store.local_path(run.layout.policy(version))
    assert policy is not None
    return load_file(policy / "model.safetensors")


def state(run: Run, iteration: int) -> dict[str, torch.Tensor]:
    """Return `step`, `exp_avg/<name>`, `exp_avg_sq/<name>` and `weights/<name>`, whatever the number of processes."""
    saved = run.store.local_path(f"{run.layout.train(iteration)}/optimizer")
    assert saved is not None
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "state.pt"
        dcp_to_torch_save(saved, whole)
        saved = torch.load(whole)
    tensors: dict[str, torch.Tensor] = {"step": saved["step"]}
    for name, state in saved.get("optimizer", {}).get("state", {}).items():
        assert state["step"] == saved["step"]
        tensors |= {f"{moment}/{name}": state[moment] for moment in ("exp_avg", "exp_avg_sq")}
    return tensors | {f"weights/{name}": weights for name, weights in saved.get("weights", {}).items()}


def assert_same_state(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
