"""Output projection, log-softmax and entropy as one differentiable step over chunks of tokens.

The logits of one chunk exist at a time, in forward and in backward, whatever the batch. Backward computes them again
from the hidden states, except those of the last chunk, which are kept as probabilities.
"""

from typing import Any

import torch
from torch import Tensor


def linear_logprobs(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_T: Tensor,
    temperature: float,
    chunk: int,
    entropy_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """log softmax((h W^T + b) / temperature) at the targets, and the entropy of that distribution.

    Matrix products run in the dtype of `hidden_TD`; everything else, and the gradient of the weight over all chunks,
    in float32.

    Args:
        chunk: tokens whose logits exist at a time.
        entropy_gradient: whether the entropy is differentiable.

    Returns:
        logprobs_T and entropy_T, float32 nats.
    """
    logprobs_T, entropy_T = _LinearLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden_TD, weight_VD, bias_V, targets_T, temperature, chunk, entropy_gradient
    )
    return logprobs_T, entropy_T if entropy_gradient else entropy_T.detach()


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_T: Tensor,
        temperature: float,
        chunk: int,
        entropy_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        # Chunks of one size: the one that is kept then saves as much as it can.
        chunk = -(-len(targets_T) // -(-len(targets_T) // chunk))
        ctx.temperature, ctx.chunk, ctx.entropy_gradient = temperature, chunk, entropy_gradient
        ctx.weight_dtype = weight_VD.dtype
        with torch.autocast(hidden_TD.device.type, enabled=False):
            weight_VD = weight_VD.to(hidden_TD.dtype)
            logprobs_T, entropy_T = (
                torch.empty(len(targets_T), dtype=torch.float32, device=hidden_TD.device) for _ in range(2)
            )
            probabilities_TV = None
            for begin in range(0, len(targets_T), chunk):
                part = slice(begin, begin + chunk)
                logits_TV = _logits(hidden_TD[part], weight_VD, bias_V, temperature)
                # By hand and in place: PyTorch's logsumexp and vecdot take several times as long on the CPU.
                logits_TV -= logits_TV.amax(dim=-1, keepdim=True)
                probabilities_TV = logits_TV.exp()
                total_T = probabilities_TV.sum(dim=-1)
                chosen_T = logits_TV.gather(1, targets_T[part, None]).squeeze(1)
                logprobs_T[part] = chosen_T - total_T.log()
                entropy_T[part] = total_T.log() - logits_TV.mul_(probabilities_TV).sum(dim=-1) / total_T
                probabilities_TV /= total_T[:, None]
        ctx.save_for_backward(hidden_TD, weight_VD, bias_V, targets_T, entropy_T)
        ctx.last = probabilities_TV if any(ctx.needs_input_grad) else None
        return logprobs_T, entropy_T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        logprob_gradient_T, entropy_gradient_T = gradients
        hidden_TD, weight_VD, bias_V, targets_T, entropy_T = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        hidden_gradient_TD = torch.empty_like(hidden_TD) if wants_hidden else None
        weight_gradient_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if wants_weight else None
        bias_gradient_V = torch.zeros_like(bias_V, dtype=torch.float32) if wants_bias else None
        # The last chunk first, so that its probabilities are gone before others need the room.
        for begin in reversed(range(0, len(targets_T), ctx.chunk)):
            part = slice(begin, begin + ctx.chunk)
            if ctx.last is not None:
                probabilities_TV, ctx.last = ctx.last, None
            else:
                logits_TV = _logits(hidden_TD[part], weight_VD, bias_V, ctx.temperature)
                probabilities_TV = logits_TV.sub_(logits_TV.amax(dim=-1, keepdim=True)).exp_()
                probabilities_TV /= probabilities_TV.sum(dim=-1, keepdim=True)
            # d logprob / d logits = onehot - p; d entropy / d logits = -p (log p + entropy).
            if ctx.entropy_gradient:
                factor_TV = probabilities_TV.log().add_(entropy_T[part, None]).mul_(entropy_gradient_T[part, None])
                factor_TV.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0).add_(logprob_gradient_T[part, None])
                logits_gradient_TV = probabilities_TV.mul_(factor_TV).neg_()
            else:
                logits_gradient_TV = probabilities_TV.mul_(-logprob_gradient_T[part, None])
            rows_T = torch.arange(len(logits_gradient_TV), device=targets_T.device)
            logits_gradient_TV[rows_T, targets_T[part]] += logprob_gradient_T[part]
            if ctx.temperature != 1.0:
                logits_gradient_TV /= ctx.temperature
            if bias_gradient_V is not None:
                bias_gradient_V += logits_gradient_TV.sum(0)
            rounded_TV = logits_gradient_TV.to(hidden_TD.dtype)
            if hidden_gradient_TD is not None:
                hidden_gradient_TD[part] = rounded_TV @ weight_VD
            if weight_gradient_VD is not None:
                weight_gradient_VD += rounded_TV.T @ hidden_TD[part]
        if weight_gradient_VD is not None:
            weight_gradient_VD = weight_gradient_VD.to(ctx.weight_dtype)
        return hidden_gradient_TD, weight_gradient_VD, bias_gradient_V, None, None, None, None


def _logits(hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, temperature: float) -> Tensor:
    logits_TV = (hidden_TD @ weight_VD.T).float()
    if bias_V is not None:
        logits_TV += bias_V
    if temperature != 1.0:
        logits_TV /= temperature
    return logits_TV
