"""What a train stage leaves beside the policy for the next one, read back."""

import tempfile
from pathlib import Path

import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from components.store import Run


def state(run: Run, iteration: int) -> dict[str, torch.Tensor]:
    """Step, moments and weights of an iteration in a local store, by name, whatever the number of processes."""
    saved = run.store.local_path(f"{run.layout.train(iteration)}/optimizer")
    assert saved is not None
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "state.pt"
        dcp_to_torch_save(saved, whole)
        tensors: dict[str, torch.Tensor] = torch.load(whole)
    return tensors


def assert_same_state(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
