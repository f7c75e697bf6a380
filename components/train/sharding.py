"""The policy spread over processes with FSDP2 (`fully_shard`)."""

from typing import cast

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from components.train.logprobs import Scorer
from components.train.policy import layers
from components.train.processes import Processes


def shard(scorer: Scorer, processes: Processes) -> None:
    """Give every process a part of each parameter, in place; one process alone keeps everything.

    Layers are gathered one at a time. Embeddings, last norm and output head belong to the scorer, because tied
    weights have to be gathered together.
    """
    if processes.world == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # In float32 both ways: what is computed in fewer bits is autocast's choice, as in one process.
    mesh = init_device_mesh(processes.device.type, (processes.world,))
    for layer in layers(scorer.model):
        fully_shard(layer, mesh=mesh)
    fully_shard(scorer, mesh=mesh)


def full_tensor(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be spread over processes; all of them have to ask."""
    return cast(Tensor, tensor.full_tensor()) if isinstance(tensor, DTensor) else tensor


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters with gradients by name, tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Buffers that belong to a saved model."""
    buffers = dict(model.named_buffers())
    return {name: buffers[name] for name in model.state_dict() if name in buffers}


def full_state(model: nn.Module, processes: Processes) -> dict[str, Tensor]:
    """Whole trained parameters and buffers on the CPU of the first process, none on the others; tied ones once."""
    state = {name: buffer.cpu() for name, buffer in persistent_buffers(model).items()} if processes.first else {}
    for name, parameter in trained_parameters(model).items():
        whole = full_tensor(parameter.detach())
        if processes.first:
            state[name] = whole.cpu()
    return state
