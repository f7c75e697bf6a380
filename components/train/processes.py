"""Several training processes, each with its own share of every mini-batch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from components.contract.errors import InputError

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; one process alone unless torchrun started several.

    Attributes:
        rank: from 0 over all nodes.
        world: how many there are.
        device: where this one computes.
    """

    rank: int
    world: int
    device: torch.device

    @classmethod
    def join(cls) -> "Processes":
        """Meet the others that torchrun's environment names: NCCL on CUDA, gloo elsewhere."""
        world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", local) if cuda else torch.device("cpu")
        if cuda and local >= torch.cuda.device_count():
            raise InputError(f"training process {local} has no GPU; this machine has {torch.cuda.device_count()}")
        if cuda:
            torch.cuda.set_device(device)
        if world == 1:
            return cls(0, 1, device)
        if not dist.is_initialized():
            # Objects travel between CPUs whatever the tensors use.
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_TIMEOUT)
        return cls(dist.get_rank(), world, device)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def leave(self) -> None:
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up in place over all processes."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def max_(self, tensor: Tensor) -> Tensor:
        """Largest of all processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor

    def from_first(self, value: T | None) -> T:
        """What the first process has, for all."""
        box = [value]
        if self.world > 1:
            dist.broadcast_object_list(box, src=0)
        assert box[0] is not None
        return box[0]

    def gather(self, value: T) -> list[T]:
        """What every process has, by rank, for all."""
        if self.world == 1:
            return [value]
        box: list[Any] = [None] * self.world
        dist.all_gather_object(box, value)
        return box

    def share(self, items: Sequence[T]) -> list[tuple[T, bool]]:
        """This process's items, equally many for each, and whether an item counts.

        Processes have to go through forward and backward together, so one that would have nothing left takes the
        last item again without counting it. `items` go from large to small: they are dealt there and back.
        """
        rounds = -(-len(items) // self.world)
        mine = []
        for number in range(rounds):
            place = self.rank if number % 2 == 0 else self.world - 1 - self.rank
            index = number * self.world + place
            mine.append((items[min(index, len(items) - 1)], index < len(items)))
        return mine
