"""Readers of a train stage's output in a local store."""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from components.contract.metrics import TrainMetrics
from components.store import Run

NOWHERE = Path("/nonexistent")
"""Into which nothing is fetched from a local store."""


def metrics_of(run: Run, iteration: int = 1) -> TrainMetrics:
    return TrainMetrics.model_validate_json(run.directory(run.layout.train(iteration)).read("metrics.json"))


def weights(run: Run, version: int) -> dict[str, torch.Tensor]:
    """Return the tensors of a policy by name."""
    return load_file(policy_path(run, version) / "model.safetensors")


def policy_path(run: Run, version: int) -> Path:
    """Return a policy's directory in Hugging Face format; it may be written to."""
    return run.fetch_policy(version, NOWHERE)


def state(run: Run, iteration: int) -> dict[str, torch.Tensor]:
    """Return `step`, `exp_avg/<name>`, `exp_avg_sq/<name>` and `weights/<name>`, whatever the number of processes."""
    saved = run.directory(run.layout.train(iteration)).fetch(NOWHERE, "optimizer")
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
