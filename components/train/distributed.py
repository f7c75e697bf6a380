"""Several training processes: each has its share of every mini-batch and, with FSDP2, its shard of every parameter."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from components.contract.errors import InputError

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Processes:
    """The place of this process among those that train together; alone unless torchrun started several.

    Attributes:
        rank: from 0 over all nodes.
        world_size: number of processes.
        device: where this process computes.
    """

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def init(cls) -> "Processes":
        """Connect to the processes that torchrun's environment names: NCCL on CUDA, gloo elsewhere.

        Raises:
            InputError: there are more processes than GPUs.
        """
        world_size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", local) if cuda else torch.device("cpu")
        if cuda and local >= torch.cuda.device_count():
            raise InputError(f"training process {local} has no GPU; this machine has {torch.cuda.device_count()}")
        if cuda:
            torch.cuda.set_device(device)
        if world_size == 1:
            return cls(0, 1, device)
        if not dist.is_initialized():
            # Objects travel between CPUs whatever the tensors use.
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_TIMEOUT)
        return cls(dist.get_rank(), world_size, device)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def destroy(self) -> None:
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def all_reduce(self, tensor: Tensor, op: Any = dist.ReduceOp.SUM) -> Tensor:
        """Reduce a tensor over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor, op)
        return tensor

    def broadcast(self, value: T) -> T:
        """Return the first process's value to all."""
        box = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank, to all."""
        if self.world_size == 1:
            return [value]
        box: list[Any] = [None] * self.world_size
        dist.all_gather_object(box, value)
        return box


def shard(root: nn.Module, layers: Iterable[nn.Module], processes: Processes) -> None:
    """Leave every process a shard of each parameter, in place; one process alone keeps everything.

    Layers are gathered one at a time. What is left (embeddings, last norm and output head) belongs to the root, because
    tied weights have to be gathered together.
    """
    if processes.world_size == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # In float32 both ways: lower precision is autocast's choice, as in one process.
    mesh = init_device_mesh(processes.device.type, (processes.world_size,))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(root, mesh=mesh)


def full_tensor(tensor: Tensor) -> Tensor:
    """Gather a tensor that may be sharded; all processes have to call it."""
    return cast(Tensor, tensor.full_tensor()) if isinstance(tensor, DTensor) else tensor
