"""Mini-batches, and micro-batches within a token budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.train.distributed import Processes
from components.train.group_attention import group_inputs
from components.train.group_layout import GroupLayout
from components.train.planning import plan_groups, plan_padded, share
from components.train.trajectories import Trajectories


@dataclass(frozen=True)
class MicroBatch:
    """Sequences of one forward pass: groups in a row, or single sequences side by side, padded on the right.

    The last token of a sequence predicts nothing and is left out. Under causal attention no token sees those to its
    right, so real tokens have their own positions 0, 1, 2, ... and padding changes nothing.

    Attributes:
        rows_N: int64, indices of the sequences in their mini-batch.
        inputs: the decoder's arguments; `input_ids` is int64 [1, tokens] or, padded, [sequences, longest].
        predictors_T: int64, indices into the flattened input whose outputs predict the completion tokens.
        targets_T: int64, the completion tokens.
        behaviour_logprobs_T: float32.
        guide_logprobs_T: float32; None where there is no guide.
        sequence_T: int64, the sequence of each completion token, from 0 within this micro-batch.
        group_tokens: completion tokens of each group (padded: of each sequence), in their order.
    """

    rows_N: Tensor
    inputs: dict[str, Any]
    predictors_T: Tensor
    targets_T: Tensor
    behaviour_logprobs_T: Tensor
    guide_logprobs_T: Tensor | None
    sequence_T: Tensor
    group_tokens: tuple[int, ...]


@dataclass(frozen=True)
class MiniBatch:
    """Sequences of one optimizer step, and this process's share of their micro-batches.

    Attributes:
        rewards_N: float32.
        group_N: int64, from 0 within the mini-batch.
        lengths_N: int64, completion tokens in the loss; 0 for a masked sequence.
        micro_batches: over all processes every sequence once.
        counted: whether a micro-batch counts; one that does not keeps this process in step with the others.
        whole: whether all groups of a micro-batch are in it, and those of the other processes' that run beside it.
        tokens: prompt and completion tokens of all sequences, without padding.
        completion_tokens: of all sequences.
    """

    rewards_N: Tensor
    group_N: Tensor
    lengths_N: Tensor
    micro_batches: tuple[MicroBatch, ...]
    counted: tuple[bool, ...]
    whole: tuple[bool, ...]
    tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class MicroBatchLimits:
    """Limits of one forward pass.

    Attributes:
        tokens: padding included.
        grouped: whether groups stand in a row, each prompt once; else sequences are padded side by side.
    """

    tokens: int
    grouped: bool


def build_mini_batch(
    data: Trajectories,
    groups: np.ndarray,
    limits: MicroBatchLimits,
    processes: Processes,
    *,
    mask_truncated: bool = False,
) -> MiniBatch:
    """Build the mini-batch of the given groups, in micro-batches within the limits.

    A sequence longer than the limit is a micro-batch of its own.

    Args:
        groups: int64, group numbers.
        mask_truncated: leave the tokens of truncated completions out of the loss.
    """
    rows = data.rows_of(groups)
    lengths, prompts = np.diff(data.starts)[rows], data.prompt_lengths[rows]
    completion_lengths = lengths - prompts
    world, device = processes.world_size, processes.device
    if limits.grouped:
        plan = plan_groups(prompts, completion_lengths - 1, data.group_size, limits.tokens, world)
    else:
        plan = plan_padded(lengths - 1, limits.tokens, world)
    build = build_grouped if limits.grouped else build_padded
    turns = share(plan, processes.rank, world)
    in_loss = completion_lengths * ~data.truncated[rows] if mask_truncated else completion_lengths
    return MiniBatch(
        rewards_N=torch.from_numpy(data.rewards[rows]).to(device),
        group_N=torch.arange(len(groups), device=device).repeat_interleave(data.group_size),
        lengths_N=torch.from_numpy(in_loss).to(device),
        micro_batches=tuple(build(data, rows, part.groups, device) for part, _, _ in turns),
        counted=tuple(is_counted for _, is_counted, _ in turns),
        whole=tuple(are_whole for _, _, are_whole in turns),
        tokens=int(lengths.sum()),
        completion_tokens=int(completion_lengths.sum()),
    )


def build_grouped(
    data: Trajectories, rows: np.ndarray, groups: Sequence[Sequence[int]], device: torch.device
) -> MicroBatch:
    """Build the tensors of groups in a row, each given as indices of `rows`, which are rows of `data`."""
    lengths, prompts = np.diff(data.starts)[rows], data.prompt_lengths[rows]
    layout = GroupLayout.of([prompts[group[0]], *(lengths - prompts)[group]] for group in groups)
    pieces = []
    for group in groups:
        begin = data.starts[rows[group[0]]]
        pieces.append(data.tokens[begin : begin + prompts[group[0]]])
        pieces += [
            data.tokens[data.starts[row] + data.prompt_lengths[row] : data.starts[row + 1] - 1] for row in rows[group]
        ]
    part = np.concatenate(groups)
    return _micro_batch(
        data,
        rows,
        part,
        group_inputs(torch.from_numpy(np.concatenate(pieces)[None]).to(device), layout),
        layout.predictors(),
        tuple(int((lengths - prompts)[group].sum()) for group in groups),
    )


def build_padded(
    data: Trajectories, rows: np.ndarray, groups: Sequence[Sequence[int]], device: torch.device
) -> MicroBatch:
    """Build the tensors of sequences side by side; arguments as in `build_grouped`, whose groups do not matter here."""
    part = np.concatenate(groups)
    chosen = rows[part]
    lengths, prompts = np.diff(data.starts)[chosen] - 1, data.prompt_lengths[chosen]
    place = np.arange(int(lengths.max()))
    real_BT = place < lengths[:, None]
    input_ids_BT = np.zeros(real_BT.shape, dtype=np.int64)
    input_ids_BT[real_BT] = data.tokens[(data.starts[chosen][:, None] + place)[real_BT]]
    inputs = {
        "input_ids": torch.from_numpy(input_ids_BT).to(device),
        "attention_mask": torch.from_numpy(real_BT.astype(np.int64)).to(device),
    }
    predictors = np.flatnonzero(real_BT & (place >= prompts[:, None] - 1))
    return _micro_batch(data, rows, part, inputs, predictors, tuple((lengths + 1 - prompts).tolist()))


def _micro_batch(
    data: Trajectories,
    rows: np.ndarray,
    part: np.ndarray,
    inputs: dict[str, Any],
    predictors: np.ndarray,
    group_tokens: tuple[int, ...],
) -> MicroBatch:
    chosen = rows[part]
    targets = [data.tokens[data.starts[row] + data.prompt_lengths[row] : data.starts[row + 1]] for row in chosen]
    places = data.completion_places(chosen)
    device = inputs["input_ids"].device
    guide = data.guide_logprobs
    return MicroBatch(
        rows_N=torch.from_numpy(part).to(device),
        inputs=inputs,
        predictors_T=torch.from_numpy(predictors).to(device),
        targets_T=torch.from_numpy(np.concatenate(targets)).to(device),
        behaviour_logprobs_T=torch.from_numpy(data.behaviour_logprobs[places]).to(device),
        guide_logprobs_T=None if guide is None else torch.from_numpy(guide[places]).to(device),
        sequence_T=torch.from_numpy(np.repeat(np.arange(len(part)), [len(piece) for piece in targets])).to(device),
        group_tokens=group_tokens,
    )
