"""State that continues an iteration or the next one: optimizer, step, and weights that the stored policy lacks.

Written with torch.distributed.checkpoint, every process its shards, and read by any number of processes.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from components.runtime.clock import Clock
from components.runtime.progress import note
from components.runtime.scratch import scratch_directory
from components.store import StageOutput
from components.train.distributed import Processes
from components.train.policy import trained_parameters
from components.train.task import TrainTask
from components.train.trainer import Trainer, UpdateProgress

_PROGRESS = "progress.json"
_STATE = "state"


def save_state(
    directory: Path,
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    step: int,
    with_weights: bool,
    processes: Processes,
) -> None:
    """Write the optimizer's state, the global step and, where asked, the trained parameters.

    Args:
        directory: of this process alone; the directories of all processes together make the state.

    Raises OSError where it cannot be written.
    """
    state: dict[str, Any] = {"step": torch.tensor(step)}
    if optimizer.state:
        state["optimizer"] = get_optimizer_state_dict(model, optimizer)
    if with_weights:
        state["weights"] = _weights(model)
    directory.mkdir(parents=True, exist_ok=True)
    writer = FileSystemWriter(directory, sync_files=False)
    try:
        with _one_process_is_enough():
            dcp.save(state, storage_writer=writer, no_dist=processes.world_size == 1)
    except CheckpointException as error:
        raise _system_error(error) or error from None


def load_state(directory: Path, model: nn.Module, optimizer: torch.optim.AdamW, processes: Processes) -> int:
    """Restore what `save_state` wrote, in place; return the global step."""
    reader = FileSystemReader(directory)
    saved = {key.partition(".")[0] for key in reader.read_metadata().state_dict_metadata}
    state: dict[str, Any] = {"step": torch.tensor(0)}
    if "optimizer" in saved:
        state["optimizer"] = get_optimizer_state_dict(model, optimizer)
    if "weights" in saved:
        state["weights"] = _weights(model)
    with _one_process_is_enough():
        dcp.load(state, storage_reader=reader, no_dist=processes.world_size == 1)
    if "optimizer" in saved:
        set_optimizer_state_dict(model, optimizer, state["optimizer"])
    return int(state["step"])


def save_checkpoint(task: TrainTask, trainer: Trainer, progress: UpdateProgress) -> None:
    """Keep the state within an iteration in the run, in place of earlier ones."""
    output, processes = task.checkpoint(progress.done), trainer.processes
    with scratch_directory("rapid-checkpoint-") as scratch:
        save_state(scratch, trainer.policy.model, trainer.optimizer, progress.step, True, processes)
        upload_all(output, scratch, _STATE, processes)
    if processes.is_main:
        output.write(_PROGRESS, progress.model_dump_json().encode())
        output.commit(Clock().timings())
        task.clear_checkpoints(all_but=progress.done)


def load_checkpoint(task: TrainTask, trainer: Trainer) -> UpdateProgress | None:
    """Load the newest checkpoint of these inputs and settings, in place, and remove all others; None if none."""
    processes = trainer.processes
    newest = processes.broadcast(task.newest_checkpoint() if processes.is_main else 0)
    if processes.is_main:
        task.clear_checkpoints(all_but=newest)
    if not newest:
        return None
    directory = task.checkpoint(newest)
    with scratch_directory("rapid-checkpoint-") as scratch:
        load_state(directory.fetch(scratch / _STATE, _STATE), trainer.policy.model, trainer.optimizer, processes)
    if processes.is_main:
        note(f"iteration {task.iteration}: training goes on after mini-batch {newest}")
    return UpdateProgress.model_validate_json(directory.read(_PROGRESS))


def upload_all(output: StageOutput, made: Path, below: str, processes: Processes) -> None:
    """Upload the files of every process, and let every process know them all."""
    output.upload(made, below)
    output.files[:] = [file for files in processes.all_gather(output.files) for file in files]


def _system_error(error: CheckpointException) -> OSError | None:
    """Return the error behind what torch raises where its file ends too early."""
    for failure, _ in error.failures.values():
        cause: BaseException | None = failure
        while cause:
            if isinstance(cause, OSError):
                return cause
            cause = cause.__cause__ or cause.__context__
    return None


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in trained_parameters(model).items()}


@contextmanager
def _one_process_is_enough() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield
