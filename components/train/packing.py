"""Attention over sequences that stand one after the other in a single row, each separate from the others."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

_CHANGES_ATTENTION = ("softcap", "s_aux", "head_mask", "position_bias")
_PROBE_LENGTHS = (7, 5)

PACKED_ATTENTION = "rapid_packed"
"""Name of `packed_attention` in transformers; models loaded with it take packed micro-batches only."""


def register_packed_attention() -> None:
    """Register `PACKED_ATTENTION` with transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACKED_ATTENTION, packed_attention)
    AttentionMaskInterface.register(PACKED_ATTENTION, _no_mask)


@torch.no_grad()
def packing_unfit(model: nn.Module) -> str | None:
    """Switch a model to packed attention and return None, or return why it cannot be packed.

    Architectures add sinks, caps and states of their own, so the model itself is run: two packed sequences must give
    what they give one at a time.
    """
    decoder = model.get_decoder()  # type: ignore[operator]
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    draw = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    sequences = [torch.randint(vocabulary, (1, length), generator=draw).to(device) for length in _PROBE_LENGTHS]
    alone = [decoder(input_ids=ids, use_cache=False).last_hidden_state for ids in sequences]
    register_packed_attention()
    try:
        model.set_attn_implementation(PACKED_ATTENTION)  # type: ignore[operator]
        packed = decoder(**packed_inputs(torch.cat(sequences, 1), _PROBE_LENGTHS), use_cache=False).last_hidden_state
    except (ValueError, KeyError, TypeError) as error:
        return f"its attention has no other implementation ({type(error).__name__})"
    if model.config._attn_implementation != PACKED_ATTENTION:  # type: ignore[union-attr]
        return "its attention has no other implementation"
    expected = torch.cat(alone, 1)
    tolerance = (1e-4 if expected.dtype == torch.float32 else 2e-2) * expected.abs().max().item()
    if not torch.allclose(packed, expected, rtol=0.0, atol=tolerance):
        return "packed sequences give other outputs than separate ones"
    return None


def packed_inputs(input_ids_1T: Tensor, lengths: Sequence[int]) -> dict[str, Tensor | int]:
    """Return the decoder's arguments for sequences of these lengths in one row; int64 and int32, on the ids' device."""
    device = input_ids_1T.device
    bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    return {
        "input_ids": input_ids_1T,
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


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
    **others: object,
) -> tuple[Tensor, None]:
    """Compute causal attention within each sequence, with the signature that transformers calls.

    On CUDA in half precision it is PyTorch's variable-length flash attention, elsewhere a loop over sequences.

    Args:
        query: [1, heads, T, D]; key and value may have fewer heads.
        cu_seq_lens_q: int32 [sequences + 1], boundaries of the sequences.
        max_length_q: length of the longest sequence.
        sliding_window: tokens that a token attends to, itself included; None for all before it.

    Returns:
        [1, T, heads, D], and no weights.
    """
    assert attention_mask is None
    assert len(query) == 1
    if unknown := [name for name in _CHANGES_ATTENTION if others.get(name) is not None]:
        raise ValueError(f"packed attention does not support {', '.join(unknown)}")
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
