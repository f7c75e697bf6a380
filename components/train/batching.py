"""Mini-batches, and micro-batches within a token budget."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.train.distributed import Processes
from components.train.packing import packed_inputs
from components.train.trajectories import Trajectories

EXTRA_FORWARD_COST = 1.0 / 3.0
"""A forward pass without gradient, as a share of forward and backward."""

MICRO_BATCH_OVERHEAD = 128
"""Cost of one more forward and backward pass whatever its size, in tokens."""


@dataclass(frozen=True)
class MicroBatch:
    """Sequences of one forward pass, padded on the right side by side or packed into one row.

    The last token of a sequence predicts nothing and is left out. Under causal attention no token sees those to its
    right, so real tokens have their own positions 0, 1, 2, ... and padding changes nothing.

    Attributes:
        rows_N: int64, indices of the sequences in their mini-batch.
        inputs: the decoder's arguments; `input_ids` is int64 [sequences, longest] or, packed, [1, tokens].
        predictors_T: int64, indices into the flattened input whose outputs predict the completion tokens.
        targets_T: int64, the completion tokens.
        behaviour_logprobs_T: float32.
        sequence_T: int64, the sequence of each completion token, from 0 within this micro-batch.
    """

    rows_N: Tensor
    inputs: dict[str, Tensor | int]
    predictors_T: Tensor
    targets_T: Tensor
    behaviour_logprobs_T: Tensor
    sequence_T: Tensor


@dataclass(frozen=True)
class MiniBatch:
    """Sequences of one optimizer step, and this process's share of their micro-batches.

    Attributes:
        rewards_N: float32.
        group_N: int64, from 0 within the mini-batch.
        lengths_N: int64, completion tokens in the loss; 0 for a masked sequence.
        micro_batches: over all processes every sequence once.
        counted: whether a micro-batch counts; one that does not keeps this process in step with the others.
        whole_groups: whether no group is spread over several micro-batches.
        tokens: prompt and completion tokens of all sequences, without padding.
        completion_tokens: of all sequences.
    """

    rewards_N: Tensor
    group_N: Tensor
    lengths_N: Tensor
    micro_batches: tuple[MicroBatch, ...]
    counted: tuple[bool, ...]
    whole_groups: bool
    tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class MicroBatchLimits:
    """Limits of one forward pass.

    Attributes:
        tokens: padding included.
        packed: sequences stand one after the other in a row instead of padded side by side.
    """

    tokens: int
    packed: bool


def build_mini_batch(
    data: Trajectories,
    groups: np.ndarray,
    limits: MicroBatchLimits,
    processes: Processes,
    *,
    uses_ratio: bool = False,
    mask_truncated: bool = False,
) -> MiniBatch:
    """Build the mini-batch of the given groups, in micro-batches within the limits.

    A sequence longer than the limit is a micro-batch of its own.

    Args:
        groups: int64, group numbers.
        uses_ratio: the objective's advantage needs the log-ratios of whole groups. Groups then stay together unless
            their padding costs more than the extra forward pass that a finer split needs.
        mask_truncated: leave the tokens of truncated completions out of the loss.
    """
    rows = (groups[:, None] * data.group_size + np.arange(data.group_size)).ravel()
    lengths = np.diff(data.starts)[rows] - 1
    budget = limits.tokens
    if processes.world_size > 1:
        # Every process then has something to do.
        budget = min(budget, -(-int(lengths.sum()) // processes.world_size))
    single = [[i] for i in range(len(rows))]
    plan, whole_groups = partition(single, lengths, budget, limits.packed), False
    if uses_ratio:
        units = np.arange(len(rows)).reshape(-1, data.group_size).tolist()
        by_group = partition(units, lengths, budget, limits.packed)
        costs = [plan_cost(parts, lengths, limits.packed, processes.world_size) for parts in (by_group, plan)]
        fits = all(part_tokens(part, lengths, limits.packed) <= limits.tokens for part in by_group)
        if fits and costs[0] <= costs[1] * (1.0 + EXTRA_FORWARD_COST):
            plan, whole_groups = by_group, True
    # From large to small, as `_share` deals them.
    plan.sort(key=lambda part: -part_tokens(part, lengths, limits.packed))
    completion_lengths = np.diff(data.behaviour_starts)[rows]
    in_loss = completion_lengths * ~data.truncated[rows] if mask_truncated else completion_lengths
    device = processes.device
    share = _share(plan, processes)
    return MiniBatch(
        rewards_N=torch.from_numpy(data.rewards[rows]).to(device),
        group_N=torch.arange(len(groups), device=device).repeat_interleave(data.group_size),
        lengths_N=torch.from_numpy(in_loss).to(device),
        micro_batches=tuple(build_micro_batch(data, rows, np.array(part), limits.packed, device) for part, _ in share),
        counted=tuple(is_counted for _, is_counted in share),
        whole_groups=whole_groups,
        tokens=int((lengths + 1).sum()),
        completion_tokens=int(completion_lengths.sum()),
    )


def build_micro_batch(
    data: Trajectories, rows: np.ndarray, part: np.ndarray, packed: bool, device: torch.device
) -> MicroBatch:
    """Build the tensors of the sequences `rows[part]` of `data`."""
    chosen = rows[part]
    starts, lengths = data.starts[chosen], np.diff(data.starts)[chosen] - 1
    prompts = data.prompt_lengths[chosen]
    place = np.arange(int(lengths.max()))
    real_BT = place < lengths[:, None]
    predicts_BT = real_BT & (place >= prompts[:, None] - 1)
    behaviour = data.behaviour_starts[chosen][:, None] + place - (prompts[:, None] - 1)
    tokens = data.tokens[(starts[:, None] + place)[real_BT]]
    inputs: dict[str, Tensor | int]
    if packed:
        inputs = packed_inputs(torch.from_numpy(tokens[None]).to(device), lengths.tolist())
        predictors = np.flatnonzero(predicts_BT[real_BT])
    else:
        input_ids_BT = np.zeros(real_BT.shape, dtype=np.int64)
        input_ids_BT[real_BT] = tokens
        inputs = {
            "input_ids": torch.from_numpy(input_ids_BT).to(device),
            "attention_mask": torch.from_numpy(real_BT.astype(np.int64)).to(device),
        }
        predictors = np.flatnonzero(predicts_BT)
    return MicroBatch(
        rows_N=torch.from_numpy(part).to(device),
        inputs=inputs,
        predictors_T=torch.from_numpy(predictors).to(device),
        targets_T=torch.from_numpy(data.tokens[(starts[:, None] + place + 1)[predicts_BT]]).to(device),
        behaviour_logprobs_T=torch.from_numpy(data.behaviour_logprobs[behaviour[predicts_BT]]).to(device),
        sequence_T=torch.from_numpy(np.nonzero(predicts_BT)[0]).to(device),
    )


def partition(units: list[list[int]], lengths: np.ndarray, budget: int, packed: bool) -> list[list[int]]:
    """Put units (sequences that stay together) into parts of at most `budget` tokens, padding included.

    Units go in falling order of their longest sequence. Padded, the cuts are those that cost least in tokens and
    forward passes (dynamic programming from the end); packed, nothing is padded and parts are filled in that order,
    as evenly as the least possible number of them allows.
    """
    units = sorted(units, key=lambda unit: -int(lengths[unit].max()))
    return _packed(units, lengths, budget) if packed else _padded(units, lengths, budget)


def part_tokens(part: list[int], lengths: np.ndarray, packed: bool) -> int:
    """Count the tokens of one forward pass, padding included."""
    return int(lengths[part].sum()) if packed else len(part) * int(lengths[part].max())


def plan_cost(parts: list[list[int]], lengths: np.ndarray, packed: bool, world: int = 1) -> int:
    """Estimate the cost of the slowest of `world` processes, in tokens: each turn waits for its largest part."""
    costs = sorted((part_tokens(part, lengths, packed) + MICRO_BATCH_OVERHEAD for part in parts), reverse=True)
    return sum(costs[::world])


def _padded(units: list[list[int]], lengths: np.ndarray, budget: int) -> list[list[int]]:
    widths = np.array([lengths[unit].max() for unit in units])
    filled = np.concatenate([[0], np.cumsum([len(unit) for unit in units])])
    least = np.zeros(len(units) + 1)
    cut = np.zeros(len(units), dtype=np.int64)
    for begin in reversed(range(len(units))):
        padded = widths[begin] * (filled[begin + 1 :] - filled[begin])
        ends = max(1, int(np.searchsorted(padded, budget, side="right")))
        cost = padded[:ends] + MICRO_BATCH_OVERHEAD + least[begin + 1 : begin + 1 + ends]
        cut[begin] = begin + 1 + int(np.argmin(cost))
        least[begin] = cost.min()
    parts: list[list[int]] = []
    begin = 0
    while begin < len(units):
        parts.append([i for unit in units[begin : cut[begin]] for i in unit])
        begin = int(cut[begin])
    return parts


def _packed(units: list[list[int]], lengths: np.ndarray, budget: int) -> list[list[int]]:
    """Put the longest first into the emptiest part with room, or into a new part where none has room."""
    sizes = np.array([lengths[unit].sum() for unit in units])
    count = max(1, -(-int(sizes.sum()) // budget))
    parts: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for unit, size in zip(units, sizes.tolist(), strict=True):
        place = int(np.argmin(filled))
        if filled[place] and filled[place] + size > budget:
            parts.append([])
            filled.append(0)
            place = len(parts) - 1
        parts[place] += unit
        filled[place] += size
    return [part for part in parts if part]


def _share(plan: list[list[int]], processes: Processes) -> list[tuple[list[int], bool]]:
    """Return this process's parts of a plan, equally many for each process, and whether a part counts.

    Processes must go through forward and backward together, so one that would have nothing left takes the last part
    again without counting it. Parts go from large to small and are dealt back and forth.
    """
    turns = -(-len(plan) // processes.world_size)
    share = []
    for turn in range(turns):
        place = processes.rank if turn % 2 == 0 else processes.world_size - 1 - processes.rank
        index = turn * processes.world_size + place
        share.append((plan[min(index, len(plan) - 1)], index < len(plan)))
    return share
