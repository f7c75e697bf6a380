"""The test whether a model takes groups in a row, by running its own code on some."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from components.train.group_attention import GROUP_ATTENTION, group_attention, group_inputs, register_group_attention
from components.train.group_layout import GroupLayout

_PROBE = ((5, 4, 3, 1), (3, 2, 6))
"""Tokens of the prompt and of the completions of the groups that a model is tried with."""


@torch.no_grad()
def groups_unfit(model: nn.Module) -> str | None:
    """Switch a model to rows of groups and return None, or leave it as it is and return why it cannot take them.

    Architectures add sinks, caps and states of their own, so the model itself is run: groups in a row must give what
    their sequences give one at a time.
    """
    decoder = model.get_decoder()  # type: ignore[operator]
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    own = model.config._attn_implementation  # type: ignore[union-attr]
    device = next(model.parameters()).device
    layout = GroupLayout.of(_PROBE)
    draw = torch.Generator().manual_seed(0)
    row_1T = torch.randint(vocabulary, (1, layout.groups[-1][-1]), generator=draw).to(device)
    expected = []
    for begin, first, *rest in layout.groups:
        for start, end in pairwise((first, *rest)):
            ids = torch.cat([row_1T[:, begin:first], row_1T[:, start:end]], 1)
            expected.append(decoder(input_ids=ids, use_cache=False).last_hidden_state[0, first - begin - 1 :])
    register_group_attention()
    windows: list[int | None] = []
    try:
        model.set_attn_implementation(GROUP_ATTENTION)  # type: ignore[operator]
        with _recorded(windows):
            found = decoder(**group_inputs(row_1T, layout), use_cache=False).last_hidden_state[0, layout.predictors()]
    except Exception as error:  # whatever a model's own code raises where it does not fit
        reason: str | None = " ".join(str(error).split()) or type(error).__name__
    else:
        reason = _difference(found, torch.cat(expected)) or _masked_alone(model, windows)
        if model.config._attn_implementation != GROUP_ATTENTION:  # type: ignore[union-attr]
            reason = "its attention cannot be exchanged"
    if reason is not None:
        model.set_attn_implementation(own)  # type: ignore[operator]
    return reason


def _difference(found: Tensor, expected: Tensor) -> str | None:
    tolerance = (1e-4 if expected.dtype == torch.float32 else 2e-2) * expected.abs().max().item()
    same = torch.allclose(found, expected, rtol=0.0, atol=tolerance)
    return None if same else "groups in a row give other outputs than separate sequences"


@contextmanager
def _recorded(windows: list[int | None]) -> Iterator[None]:
    """Append the window of every attention in the block."""
    from transformers import AttentionInterface

    def recording(*inputs: Any, **others: Any) -> tuple[Tensor, None]:
        windows.append(others.get("sliding_window"))
        return group_attention(*inputs, **others)  # type: ignore[no-any-return]

    AttentionInterface.register(GROUP_ATTENTION, recording)
    try:
        yield
    finally:
        AttentionInterface.register(GROUP_ATTENTION, group_attention)


def _masked_alone(model: nn.Module, windows: list[int | None]) -> str | None:
    """Return what only the model's mask would tell: the probe is too short to show it."""
    config = model.config.get_text_config()  # type: ignore[union-attr, operator]
    if getattr(config, "attention_chunk_size", None):
        return "its attention is in chunks"
    # Where layers are listed by kind, a window may be given that none has.
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    if getattr(config, "sliding_window", None) and "sliding_attention" in kinds and not any(windows):
        return "its sliding window is in its mask alone"
    return None
