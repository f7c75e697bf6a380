"""AdamW with its schedule."""

import math

import torch
from torch import nn

from components.contract.train_config import TrainSection


def build_optimizer(model: nn.Module, section: TrainSection) -> torch.optim.AdamW:
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
    """Rate of optimizer step `step` (from 1, counted since the base policy).

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


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
