"""What continues a pass or the next iteration: optimizer state, and weights that the policy on disk does not hold.

Written with torch.distributed.checkpoint, every process its own part, and read by any number of processes.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter

from components.train.processes import Processes
from components.train.sharding import trained_parameters

_MOMENTS = ("exp_avg", "exp_avg_sq")
_WEIGHTS = "weights"


def save_state(
    directory: Path,
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    step: int,
    with_weights: bool,
    processes: Processes,
) -> None:
    """Write both moments of every trained parameter (float32, by name) and the global step.

    Args:
        directory: of this process alone; together the directories of all processes make the checkpoint.
        with_weights: also the trained parameters themselves.
    """
    tensors: dict[str, Tensor] = {"step": torch.tensor(step)}
    for name, parameter in trained_parameters(model).items():
        if with_weights:
            tensors[f"{_WEIGHTS}/{name}"] = parameter.detach()
        if state := optimizer.state.get(parameter):
            tensors |= {f"{moment}/{name}": state[moment] for moment in _MOMENTS}
    directory.mkdir(parents=True, exist_ok=True)
    with _alone_on_purpose():
        dcp.save(tensors, storage_writer=FileSystemWriter(directory), no_dist=processes.world == 1)


def load_state(directory: Path, model: nn.Module, optimizer: torch.optim.AdamW, processes: Processes) -> int:
    """Restore what `save_state` wrote, in place; returns the global step."""
    reader = FileSystemReader(directory)
    saved = reader.read_metadata().state_dict_metadata
    tensors: dict[str, Tensor] = {"step": torch.tensor(0)}
    parameters = trained_parameters(model)
    for name, parameter in parameters.items():
        if f"{_WEIGHTS}/{name}" in saved:
            tensors[f"{_WEIGHTS}/{name}"] = parameter.detach()
        if f"{_MOMENTS[0]}/{name}" in saved:
            tensors |= {f"{moment}/{name}": torch.zeros_like(parameter.detach()) for moment in _MOMENTS}
    with _alone_on_purpose():
        dcp.load(tensors, storage_reader=reader, no_dist=processes.world == 1)
    step = int(tensors["step"])
    for name, parameter in parameters.items():
        if f"{_MOMENTS[0]}/{name}" in tensors:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                **{moment: tensors[f"{moment}/{name}"] for moment in _MOMENTS},
            }
    return step


@contextmanager
def _alone_on_purpose() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield
