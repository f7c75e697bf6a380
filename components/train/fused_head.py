"""Output projection, log-softmax and entropy as one differentiable step over chunks of tokens.

The logits of one chunk exist at a time, in forward and in backward, whatever the batch. Backward computes them again
from the hidden states.

Where the loss of some tokens depends on their own log-probabilities alone, its gradient is known as soon as those are.
Such a `KnownGradient` is propagated in the forward pass, while the tokens' probabilities are in memory: three products
with the vocabulary instead of four.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_KEPT = 3
"""Pieces of half a chunk whose probabilities are kept until the gradient of their block is known: as much memory as the
logits and probabilities of a chunk, less those of the piece that is computed."""


@dataclass(frozen=True)
class KnownGradient:
    """The gradient of a loss by log-probabilities that follows from these alone.

    Attributes:
        gradient: (log-probabilities of some tokens, which tokens) -> gradient; both detached float32.
        blocks: lengths of the runs of tokens that `gradient` needs at once; None where any tokens will do.
    """

    gradient: Callable[[Tensor, slice], Tensor]
    blocks: Sequence[int] | None = None

    def parts(self, tokens: int, chunk: int) -> Iterator[tuple[slice, list[slice]]]:
        """Yield tokens for `gradient`, and the pieces in which their logits are computed."""
        if self.blocks is None:
            for part in _even(0, tokens, chunk):
                yield part, [part]
            return
        room, half = _KEPT * chunk // 2, max(1, chunk // 2)
        begin = end = 0
        for length in [*self.blocks, room + 1]:
            # Small blocks go together.
            if end > begin and end + length - begin > room:
                yield slice(begin, end), _even(begin, end, chunk if end - begin <= chunk else half)
                begin = end
            end += length


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
    """Return log softmax((hidden W^T + b) / temperature) of the targets, and the entropy of that distribution.

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
        ctx.temperature, ctx.chunk, ctx.entropy_gradient = temperature, chunk, entropy_gradient
        ctx.weight_dtype, ctx.propagated = weight_VD.dtype, None
        tokens = len(targets_T)
        with torch.autocast(hidden_TD.device.type, enabled=False):
            head = _Head(hidden_TD, weight_VD.to(hidden_TD.dtype), bias_V, targets_T, temperature)
            if known_gradient is None or entropy_gradient or not any(ctx.needs_input_grad):
                for part in _even(0, tokens, chunk):
                    head.score(part)
            else:
                gradients, expected_T = _Gradients(head, ctx.needs_input_grad), torch.empty_like(head.logprobs_T)
                for block, pieces in known_gradient.parts(tokens, chunk):
                    kept: dict[int, Tensor] = {}
                    for part in pieces:
                        if len(kept) == _KEPT:
                            del kept[next(iter(kept))]
                        kept[part.start] = head.score(part)
                    expected_T[block] = known_gradient.gradient(head.logprobs_T[block], block)
                    # Those that are kept come first, so that they are freed before others are computed again.
                    for part in reversed(pieces):
                        gradients.add(part, kept.pop(part.start, None), expected_T[part])
                ctx.propagated = expected_T, gradients
        ctx.save_for_backward(hidden_TD, head.weight_VD, bias_V, targets_T, head.entropy_T)
        return head.logprobs_T, head.entropy_T

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        logprob_gradient_T, entropy_gradient_T = incoming
        hidden_TD, weight_VD, bias_V, targets_T, entropy_T = ctx.saved_tensors
        gradients = None
        if ctx.propagated is not None:
            expected_T, gradients = ctx.propagated
            ctx.propagated = None
            # Not bit for bit: sums and vectorised functions round otherwise in other places.
            if not (expected_T - logprob_gradient_T).abs().max() <= 1e-4 * expected_T.abs().max():
                gradients = None
        if gradients is None:
            head = _Head(hidden_TD, weight_VD, bias_V, targets_T, ctx.temperature)
            gradients = _Gradients(head, ctx.needs_input_grad)
            for part in _even(0, len(targets_T), ctx.chunk):
                if ctx.entropy_gradient:
                    head.entropy_T[part] = entropy_T[part]
                    gradients.add_both(part, logprob_gradient_T[part], entropy_gradient_T[part])
                else:
                    gradients.add(part, None, logprob_gradient_T[part])
        return (*gradients.cast(ctx.weight_dtype), None, None, None, None, None)


class _Head:
    """The output projection over some tokens, and what has been computed of them.

    Attributes:
        logprobs_T, entropy_T: float32 nats.
        total_T: sums of the exponentials of logits less the largest one.
    """

    def __init__(
        self, hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_T: Tensor, temperature: float
    ) -> None:
        self.hidden_TD, self.weight_VD, self.bias_V = hidden_TD, weight_VD, bias_V
        self.targets_T, self.temperature = targets_T, temperature
        self.logprobs_T, self.entropy_T, self.total_T = (
            torch.empty(len(targets_T), dtype=torch.float32, device=hidden_TD.device) for _ in range(3)
        )

    def shifted_logits(self, part: slice) -> Tensor:
        """Return logits less the largest one, float32 [t, V]."""
        logits_TV = (self.hidden_TD[part] @ self.weight_VD.T).float()
        if self.bias_V is not None:
            logits_TV += self.bias_V
        if self.temperature != 1.0:
            logits_TV /= self.temperature
        return logits_TV.sub_(logits_TV.amax(dim=-1, keepdim=True))

    def score(self, part: slice) -> Tensor:
        """Compute log-probabilities and entropies of some tokens and return their `surprise`."""
        logits_TV = self.shifted_logits(part)
        # By hand and in place: PyTorch's logsumexp and vecdot take several times as long on the CPU.
        exponentials_TV = logits_TV.exp()
        total_T = self.total_T[part] = exponentials_TV.sum(dim=-1)
        self.logprobs_T[part] = logits_TV.gather(1, self.targets_T[part, None]).squeeze(1) - total_T.log()
        self.entropy_T[part] = total_T.log() - logits_TV.mul_(exponentials_TV).sum(dim=-1) / total_T
        return self._less_targets(exponentials_TV, part)

    def surprise(self, part: slice) -> Tensor:
        """Return (p - onehot) x total of some tokens in the dtype of products, [t, V]."""
        exponentials_TV = self.shifted_logits(part).exp_()
        self.total_T[part] = exponentials_TV.sum(dim=-1)
        return self._less_targets(exponentials_TV, part)

    def _less_targets(self, exponentials_TV: Tensor, part: slice) -> Tensor:
        exponentials_TV.scatter_add_(1, self.targets_T[part, None], -self.total_T[part, None])
        return exponentials_TV.to(self.hidden_TD.dtype)


class _Gradients:
    """Gradients of hidden states, weight and bias, added up over chunks; weight and bias in float32."""

    def __init__(self, head: _Head, wanted: tuple[bool, ...]) -> None:
        self._head, bias_V = head, head.bias_V
        self._hidden_TD = torch.empty_like(head.hidden_TD) if wanted[0] else None
        self._weight_VD = torch.zeros_like(head.weight_VD, dtype=torch.float32) if wanted[1] else None
        self._bias_V = torch.zeros_like(bias_V, dtype=torch.float32) if bias_V is not None and wanted[2] else None

    def add(self, part: slice, surprise_TV: Tensor | None, logprob_gradient_T: Tensor) -> None:
        """Add the gradient of some tokens; d log p / d logits = onehot - p. `surprise_TV` is computed where None."""
        if surprise_TV is None:
            surprise_TV = self._head.surprise(part)
        self._add(part, surprise_TV, -logprob_gradient_T / (self._head.temperature * self._head.total_T[part]))

    def add_both(self, part: slice, logprob_gradient_T: Tensor, entropy_gradient_T: Tensor) -> None:
        """Add the gradient of some tokens by both results; d entropy / d logits = -p (log p + entropy)."""
        head = self._head
        logits_TV = head.shifted_logits(part).log_softmax(dim=-1)
        factor_TV = (logits_TV + head.entropy_T[part, None]).mul_(-entropy_gradient_T[:, None])
        factor_TV.sub_(logprob_gradient_T[:, None])
        # Where p is 0 its logarithm may be infinite.
        gradient_TV = factor_TV.mul_(logits_TV.exp_()).nan_to_num_(nan=0.0)
        gradient_TV.scatter_add_(1, head.targets_T[part, None], logprob_gradient_T[:, None])
        self._add(part, gradient_TV.to(head.hidden_TD.dtype), torch.full_like(logprob_gradient_T, 1 / head.temperature))

    def _add(self, part: slice, matrix_TV: Tensor, scale_T: Tensor) -> None:
        """Add the gradient for that of the logits, which is `matrix_TV` with its rows scaled."""
        head = self._head
        if self._bias_V is not None:
            self._bias_V += scale_T @ matrix_TV.float()
        if self._hidden_TD is not None:
            self._hidden_TD[part] = (matrix_TV @ head.weight_VD) * scale_T[:, None]
        if self._weight_VD is not None:
            scaled_TD = (head.hidden_TD[part] * scale_T[:, None]).to(matrix_TV.dtype)
            if matrix_TV.dtype == torch.float32:
                self._weight_VD.addmm_(matrix_TV.T, scaled_TD)
            else:
                self._weight_VD += matrix_TV.T @ scaled_TD

    def cast(self, weight_dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        weight_VD = None if self._weight_VD is None else self._weight_VD.to(weight_dtype)
        return self._hidden_TD, weight_VD, self._bias_V


def _even(begin: int, end: int, most: int) -> list[slice]:
    """Cut a run of tokens into as few parts of at most `most` as possible, of equal size."""
    size = -(-(end - begin) // -(-(end - begin) // most))
    return [slice(start, min(start + size, end)) for start in range(begin, end, size)]
