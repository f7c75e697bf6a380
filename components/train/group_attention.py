"""Attention over rows of groups, registered with transformers, so that the models' own code runs on them.

On the CPU PyTorch's flash kernel computes the attention of prompts and completions to themselves, those of similar
lengths at once, and that of all completions of a group to their prompt; the two are merged by their log-sum-exp. On
CUDA it is FlexAttention.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from components.train.group_layout import GroupLayout

GROUP_ATTENTION = "rapid_groups"
"""Name of `group_attention` in transformers; models that have it take rows of groups only."""

_CHANGES_ATTENTION = ("softcap", "s_aux", "head_mask", "position_bias")
_STACKED = 32
"""Tokens by which lengths in a stack differ at most: few calls for short sequences, little padding in long ones."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def register_group_attention() -> None:
    """Register `GROUP_ATTENTION` with transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(GROUP_ATTENTION, group_attention)
    AttentionMaskInterface.register(GROUP_ATTENTION, _no_mask)


def group_inputs(input_ids_1T: Tensor, layout: GroupLayout) -> dict[str, Any]:
    """Return the decoder's arguments for groups in a row, on the ids' device."""
    positions_T = torch.from_numpy(layout.positions()).to(input_ids_1T.device)
    return {"input_ids": input_ids_1T, "position_ids": positions_T[None], "group_layout": layout}


@torch.compiler.disable  # type: ignore[untyped-decorator]
def group_attention(
    module: nn.Module,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    group_layout: GroupLayout | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """Compute attention within the sequences of a row of groups, with the signature that transformers calls.

    Args:
        query: [1, heads, T, D]; key and value may have fewer heads.
        group_layout: None for a single sequence.
        sliding_window: tokens that a token attends to, itself included; None for all before it.

    Returns:
        [1, T, heads, D], and no weights.
    """
    assert attention_mask is None
    assert len(query) == 1
    if unknown := [name for name in _CHANGES_ATTENTION if others.get(name) is not None]:
        raise ValueError(f"attention over groups does not support {', '.join(unknown)}")
    group_layout = group_layout or GroupLayout(((0, query.shape[2]),))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = sliding_window if sliding_window is not None and sliding_window < group_layout.longest else None
    if query.is_cuda:
        mask = _block_mask(group_layout, window, query.device)
        attended = _compiled_flex()(query, key, value, block_mask=mask, scale=scaling, enable_gqa=True)
    elif window is None:
        # The kernel is faster in float32 than in bf16, most of all backward.
        wide = torch.promote_types(query.dtype, torch.float32)
        attended = _Merged.apply(  # type: ignore[no-untyped-call]
            query.to(wide), key.to(wide), value.to(wide), group_layout, scaling
        )
    else:
        attended = _windowed(query, key, value, group_layout, scaling, window)
    return attended.to(query.dtype).transpose(1, 2), None


class _Merged(torch.autograd.Function):
    """Causal attention over whole sequences on the CPU, in float32 or float64.

    With the log-sum-exp over all keys of a query, the kernel's backward pass over some of them gives their part of the
    gradient, as in ring attention (arXiv 2310.01889).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: GroupLayout, scaling: float) -> Tensor:
        inputs = [_by_token(tensor) for tensor in (query, key, value)]
        output_THD = torch.empty_like(inputs[0])
        total_TH = output_THD.new_empty(output_THD.shape[:-1])
        for stack in _stacks(layout):
            part, part_total = _flash(*map(stack.take, inputs), 0.0, True, scale=scaling)
            stack.put(output_THD, part)
            stack.put(total_TH, part_total)
        output, total = _by_head(output_THD), _by_head(total_TH)
        for queries, keys in _rectangles(layout):
            part, part_total = _flash(
                query[:, :, queries], key[:, :, keys], value[:, :, keys], 0.0, False, scale=scaling
            )
            both = torch.logaddexp(total[:, :, queries], part_total)
            output[:, :, queries].lerp_(part, (part_total - both).exp()[..., None])
            total[:, :, queries] = both
        ctx.save_for_backward(query, key, value, output, total)
        ctx.layout, ctx.scaling = layout, scaling
        return output

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = incoming
        query, key, value, output, total = ctx.saved_tensors
        inputs = [_by_token(tensor) for tensor in (query, key, value, output, total)]
        gradients_THD = [torch.empty_like(tensor) for tensor in inputs[:3]]
        for stack in _stacks(ctx.layout):
            parts = _flash_backward(
                stack.take_real(_by_token(gradient)), *map(stack.take, inputs), 0.0, True, scale=ctx.scaling
            )
            for whole_THD, part in zip(gradients_THD, parts, strict=True):
                stack.put(whole_THD, part)
        gradients = [_by_head(tensor) for tensor in gradients_THD]
        for queries, keys in _rectangles(ctx.layout):
            parts = _flash_backward(
                gradient[:, :, queries],
                query[:, :, queries],
                key[:, :, keys],
                value[:, :, keys],
                output[:, :, queries],
                total[:, :, queries],
                0.0,
                False,
                scale=ctx.scaling,
            )
            for whole, part, where in zip(gradients, parts, (queries, keys, keys), strict=True):
                whole[:, :, where] += part
        return (*gradients, None, None)


def _by_token(tensor: Tensor) -> Tensor:
    """Turn [1, heads, T, ...] into [T, heads, ...]."""
    return tensor[0].transpose(0, 1)


def _by_head(tensor: Tensor) -> Tensor:
    """Turn [T, heads, ...] into [1, heads, T, ...]."""
    return tensor.transpose(0, 1)[None]


@dataclass(frozen=True)
class _Stack:
    """Prompts and completions of similar lengths, padded on the right, whose attention to themselves is one call.

    Attributes:
        places_SL: int64, places in the row, where a sequence is over those of its last token. Nothing that is computed
            for these repetitions goes back into the row, and under causal attention no other token sees them.
        real: int64, the others' places in the flattened stack.
        real_T: the same in the row.
    """

    places_SL: Tensor
    real: Tensor
    real_T: Tensor

    @classmethod
    def of(cls, begins: np.ndarray, lengths: np.ndarray) -> "_Stack":
        place = np.arange(lengths.max())
        places_SL = begins[:, None] + np.minimum(place, lengths[:, None] - 1)
        real = np.flatnonzero(place < lengths[:, None])
        return cls(*map(torch.from_numpy, (places_SL, real, places_SL.ravel()[real])))

    def take(self, tensor_THD: Tensor) -> Tensor:
        """Return [sequences, heads, L, ...]."""
        taken: Tensor = tensor_THD[self.places_SL]
        return taken.transpose(1, 2)

    def take_real(self, tensor_THD: Tensor) -> Tensor:
        """Return the same with zeros for repetitions."""
        taken = tensor_THD.new_zeros((self.places_SL.numel(), *tensor_THD.shape[1:]))
        taken[self.real] = tensor_THD[self.real_T]
        return taken.reshape(*self.places_SL.shape, *tensor_THD.shape[1:]).transpose(1, 2)

    def put(self, tensor_THD: Tensor, stacked: Tensor) -> None:
        """Write [sequences, heads, L, ...] to its places in the row."""
        tensor_THD[self.real_T] = stacked.transpose(1, 2).flatten(0, 1)[self.real]


@lru_cache(maxsize=4)  # for all layers
def _stacks(layout: GroupLayout) -> list[_Stack]:
    begins = np.concatenate([group[:-1] for group in layout.groups])
    lengths = np.concatenate([np.diff(group) for group in layout.groups])
    size = -(-lengths // _STACKED)
    return [_Stack.of(begins[size == this], lengths[size == this]) for this in np.unique(size[size > 0])]


def _rectangles(layout: GroupLayout) -> Iterator[tuple[slice, slice]]:
    """Yield the completions of every group, as queries, and their prompt, as keys."""
    for group in layout.groups:
        if group[1] < group[-1]:
            yield slice(group[1], group[-1]), slice(group[0], group[1])


def _windowed(query: Tensor, key: Tensor, value: Tensor, layout: GroupLayout, scaling: float, window: int) -> Tensor:
    """Compute attention within a window on the CPU, sequence by sequence."""
    outputs = []
    for begin, first, *rest in layout.groups:
        for start, end in pairwise((begin, first, *rest)):
            prompt = slice(begin, begin if start == begin else first)
            keys, values = (torch.cat([part[:, :, prompt], part[:, :, start:end]], 2) for part in (key, value))
            place = torch.arange(keys.shape[2], device=query.device)
            distance = place[-(end - start) or len(place) :, None] - place
            mask = (distance >= 0) & (distance < window)
            outputs.append(
                scaled_dot_product_attention(query[:, :, start:end], keys, values, mask, scale=scaling, enable_gqa=True)
            )
    return torch.cat(outputs, 2)


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


@lru_cache(maxsize=4)  # for all layers
def _block_mask(layout: GroupLayout, window: int | None, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    own_T, prompt_T, position_T = (
        torch.from_numpy(array).to(device) for array in (*layout.segments(), layout.positions())
    )

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        distance = position_T[query] - position_T[key]
        near = distance >= 0 if window is None else (distance >= 0) & (distance < window)
        return near & ((own_T[key] == own_T[query]) | (own_T[key] == prompt_T[query]))

    tokens = layout.groups[-1][-1]
    return create_block_mask(sees, None, None, tokens, tokens, device=cast(Any, device))


def _no_mask(*_: object, **__: object) -> None:
    return None
