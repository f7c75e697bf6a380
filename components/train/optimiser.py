"""AdamW with its schedule, carried from one iteration to the next."""

import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from components.contract.config import TrainSection

_STATE = "adamw.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def build_optimiser(model: nn.Module, section: TrainSection) -> torch.optim.AdamW:
    """Fused AdamW (arXiv 1711.05101); decoupled weight decay on matrices only, not on norms and biases."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": section.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=section.learning_rate,
        betas=section.betas,
        fused=True,
    )


def learning_rate(section: TrainSection, total_steps: int, step: int) -> float:
    """Rate of optimiser step `step` (from 1, counted since the base policy).

    Linear warm-up over `warmup_steps`, then constant, or falling to `min_learning_rate` after `total_steps`
    (linear, or half a cosine).
    """
    peak, floor, warmup = section.learning_rate, section.min_learning_rate, section.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    if section.schedule == "constant":
        return peak
    progress = min(1.0, (step - 1 - warmup) / max(1, total_steps - warmup))
    left = 1.0 - progress if section.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return floor + (peak - floor) * left


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def save_optimiser(directory: Path, model: nn.Module, optimiser: torch.optim.AdamW, step: int) -> None:
    """Write both moments of every parameter (float32, by the parameter's name) and the global step."""
    tensors = {"step": torch.tensor(step)}
    for name, parameter in model.named_parameters():
        if state := optimiser.state.get(parameter):
            tensors |= {f"{moment}/{name}": state[moment].cpu() for moment in _MOMENTS}
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / _STATE)


def load_optimiser(directory: Path, model: nn.Module, optimiser: torch.optim.AdamW) -> int:
    """Restore what `save_optimiser` wrote; returns the global step."""
    tensors = load_file(directory / _STATE)
    step = int(tensors["step"])
    for name, parameter in model.named_parameters():
        if f"exp_avg/{name}" in tensors:
            optimiser.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                **{moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS},
            }
    return step
