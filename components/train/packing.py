"""Attention over sequences that stand one after the other in a single row, without looking from one into another."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

PACKED_ATTENTION = "rapid_packed"
"""Name under which transformers finds `packed_attention`; models loaded with it take packed micro-batches only."""


def register_packed_attention() -> None:
    """Make `PACKED_ATTENTION` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACKED_ATTENTION, packed_attention)
    AttentionMaskInterface.register(PACKED_ATTENTION, _no_mask)


def packing_unfit(config: Any) -> str | None:
    """Why a model's attention cannot be packed; None where it can."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention"}:
        return f"its layers use {', '.join(sorted(kinds - {'full_attention', 'sliding_attention'}))}"
    if getattr(text, "attn_logit_softcapping", None):
        return "it caps attention logits"
    return None


def packed_attention(
    module: nn.Module,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence, in the form that transformers calls.

    On CUDA in half precision it is PyTorch's variable-length flash attention, elsewhere a loop over sequences.

    Args:
        query: [1, heads, T, D]; key and value may have fewer heads.
        cu_seq_lens_q: int32 [sequences + 1], where sequences begin and end.
        max_length_q: longest sequence.
        sliding_window: how many tokens a token sees, itself included; None for all before it.

    Returns:
        [1, T, heads, D], and no weights.
    """
    assert attention_mask is None
    assert len(query) == 1
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        attended = varlen_attn(
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return cast(Tensor, attended)[None], None
    outputs = [
        _one_sequence(query[:, :, begin:end], key[:, :, begin:end], value[:, :, begin:end], scaling, sliding_window)
        for begin, end in pairwise(cu_seq_lens_q.tolist())
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _one_sequence(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
    attend: Callable[..., Tensor] = scaled_dot_product_attention
    grouped = query.shape[1] != key.shape[1]
    if window is None or window >= query.shape[2]:
        return attend(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)
    place = torch.arange(query.shape[2], device=query.device)
    distance = place[:, None] - place
    return attend(query, key, value, (distance >= 0) & (distance < window), scale=scaling, enable_gqa=grouped)


def _no_mask(*_: object, **__: object) -> None:
    return None
