"""Output projection, log-softmax and entropy as one differentiable step over chunks of tokens.

The logits of one chunk exist at a time, in forward and in backward, whatever the batch. Backward computes them again
from the hidden states, except those of the last chunk, which are kept as probabilities.

Where the loss of a token depends on its own log-probability alone, its gradient is known as soon as the log-probability
is. Such a `KnownGradient` is propagated in the forward pass, while the chunk's probabilities are in memory: three
products with the vocabulary instead of four.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

KnownGradient = Callable[[Tensor, slice], Tensor]
"""(log-probabilities of some tokens, which tokens) -> gradient of the loss by them; both detached float32."""


def linear_logprobs(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_T: Tensor,
    temperature: float,
    chunk: int,
    entropy_gradient: bool,
    known_gradient: KnownGradient | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log softmax((h W^T + b) / temperature) at the targets, and the entropy of that distribution.

    Matrix products run in the dtype of `hidden_TD`; everything else, and the gradient of the weight over all chunks,
    in float32.

    Args:
        chunk: tokens whose logits exist at a time.
        entropy_gradient: whether the entropy is differentiable.
        known_gradient: the gradient by log-probabilities that `backward` is going to receive. It only saves work: where
            backward receives another one, gradients are computed from that.

    Returns:
        logprobs_T and entropy_T, float32 nats.
    """
    logprobs_T, entropy_T = _LinearLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden_TD, weight_VD, bias_V, targets_T, temperature, chunk, entropy_gradient, known_gradient
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
        known_gradient: KnownGradient | None,
    ) -> tuple[Tensor, Tensor]:
        # Chunks of equal size: the last one, which is kept, then saves the most.
        chunk = -(-len(targets_T) // -(-len(targets_T) // chunk))
        ctx.temperature, ctx.chunk, ctx.entropy_gradient = temperature, chunk, entropy_gradient
        ctx.weight_dtype = weight_VD.dtype
        with torch.autocast(hidden_TD.device.type, enabled=False):
            weight_VD = weight_VD.to(hidden_TD.dtype)
            logprobs_T, entropy_T = (
                torch.empty(len(targets_T), dtype=torch.float32, device=hidden_TD.device) for _ in range(2)
            )
            probabilities_TV = None
            gradients = None
            if known_gradient is not None and any(ctx.needs_input_grad) and not entropy_gradient:
                gradients = _Gradients(hidden_TD, weight_VD, bias_V, ctx.needs_input_grad)
                expected_T = torch.empty_like(logprobs_T)
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
                if gradients is not None:
                    assert known_gradient is not None
                    expected_T[part] = known_gradient(logprobs_T[part], part)
                    _to_logits_gradient(probabilities_TV, expected_T[part], targets_T[part], temperature)
                    gradients.add(part, probabilities_TV, hidden_TD, weight_VD)
        ctx.save_for_backward(hidden_TD, weight_VD, bias_V, targets_T, entropy_T)
        ctx.propagated = None if gradients is None else (expected_T, gradients)
        ctx.last = probabilities_TV if any(ctx.needs_input_grad) and gradients is None else None
        return logprobs_T, entropy_T

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        logprob_gradient_T, entropy_gradient_T = incoming
        hidden_TD, weight_VD, bias_V, targets_T, entropy_T = ctx.saved_tensors
        if ctx.propagated is not None:
            expected_T, propagated = ctx.propagated
            ctx.propagated = None
            # Not bit for bit: vectorised functions round the ends of a slice differently.
            if torch.allclose(expected_T, logprob_gradient_T, rtol=1e-6, atol=0.0):
                return (*propagated.cast(ctx.weight_dtype), None, None, None, None, None)
        gradients = _Gradients(hidden_TD, weight_VD, bias_V, ctx.needs_input_grad)
        # The last chunk first, so that its probabilities are freed before those of others are needed.
        for begin in reversed(range(0, len(targets_T), ctx.chunk)):
            part = slice(begin, begin + ctx.chunk)
            if ctx.last is not None:
                probabilities_TV, ctx.last = ctx.last, None
            else:
                logits_TV = _logits(hidden_TD[part], weight_VD, bias_V, ctx.temperature)
                probabilities_TV = logits_TV.sub_(logits_TV.amax(dim=-1, keepdim=True)).exp_()
                probabilities_TV /= probabilities_TV.sum(dim=-1, keepdim=True)
            extra_TV = None
            if ctx.entropy_gradient:
                # d entropy / d logits = -p (log p + entropy).
                extra_TV = probabilities_TV.log().add_(entropy_T[part, None]).mul_(entropy_gradient_T[part, None])
                extra_TV.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0).mul_(probabilities_TV)
                if ctx.temperature != 1.0:
                    extra_TV /= ctx.temperature
            _to_logits_gradient(probabilities_TV, logprob_gradient_T[part], targets_T[part], ctx.temperature)
            if extra_TV is not None:
                probabilities_TV -= extra_TV
            gradients.add(part, probabilities_TV, hidden_TD, weight_VD)
        return (*gradients.cast(ctx.weight_dtype), None, None, None, None, None)


class _Gradients:
    """Gradients of hidden states, weight and bias, added up over chunks; weight and bias in float32."""

    def __init__(self, hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, wanted: tuple[bool, ...]) -> None:
        self._hidden_TD = torch.empty_like(hidden_TD) if wanted[0] else None
        self._weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if wanted[1] else None
        self._bias_V = torch.zeros_like(bias_V, dtype=torch.float32) if bias_V is not None and wanted[2] else None

    def add(self, part: slice, logits_gradient_TV: Tensor, hidden_TD: Tensor, weight_VD: Tensor) -> None:
        if self._bias_V is not None:
            self._bias_V += logits_gradient_TV.sum(0)
        rounded_TV = logits_gradient_TV.to(hidden_TD.dtype)
        if self._hidden_TD is not None:
            self._hidden_TD[part] = rounded_TV @ weight_VD
        if self._weight_VD is not None:
            self._weight_VD += rounded_TV.T @ hidden_TD[part]

    def cast(self, weight_dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        weight_VD = None if self._weight_VD is None else self._weight_VD.to(weight_dtype)
        return self._hidden_TD, weight_VD, self._bias_V


def _to_logits_gradient(probabilities_TV: Tensor, gradient_T: Tensor, targets_T: Tensor, temperature: float) -> None:
    """Turn probabilities into the gradient by logits, (onehot - p) times that by log-probabilities, in place."""
    probabilities_TV.mul_(-gradient_T[:, None])
    rows_T = torch.arange(len(targets_T), device=targets_T.device)
    probabilities_TV[rows_T, targets_T] += gradient_T
    if temperature != 1.0:
        probabilities_TV /= temperature


def _logits(hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, temperature: float) -> Tensor:
    logits_TV = (hidden_TD @ weight_VD.T).float()
    if bias_V is not None:
        logits_TV += bias_V
    if temperature != 1.0:
        logits_TV /= temperature
    return logits_TV
