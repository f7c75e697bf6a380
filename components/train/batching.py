"""Which sequences are trained together: mini-batches of whole groups, micro-batches within a token budget."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.contract.digests import derive_seed
from components.contract.errors import InputError
from components.train.trajectories import Trajectories

FIRST_PASS_COST = 1.0 / 3.0
"""A forward pass without gradient, as a share of forward and backward."""

PASS_OVERHEAD = 128
"""What one more forward and backward pass costs whatever its size, in tokens."""


@dataclass(frozen=True)
class MicroBatch:
    """Sequences of one forward pass, padded on the right.

    The last token of a sequence predicts nothing and is left out. Under causal attention no token sees what
    stands right of it, so real tokens have their own positions 0, 1, 2, ... and padding changes nothing.

    Attributes:
        rows_N: int64, the sequences' places in their mini-batch.
        input_ids_BT, attention_mask_BT: int64.
        predictors_T: int64, places in the flattened [B * T] that predict the completion tokens.
        targets_T: int64, the completion tokens.
        behaviour_logprobs_T: float32.
        sequence_T: int64, the token's sequence in this micro-batch.
    """

    rows_N: Tensor
    input_ids_BT: Tensor
    attention_mask_BT: Tensor
    predictors_T: Tensor
    targets_T: Tensor
    behaviour_logprobs_T: Tensor
    sequence_T: Tensor


@dataclass(frozen=True)
class MiniBatch:
    """Sequences of one optimiser step.

    Attributes:
        rewards_N: float32.
        group_N: int64, from 0 within the mini-batch.
        micro_batches: together every sequence once.
        whole_groups: whether no group is spread over micro-batches.
        tokens: prompt and completion tokens, padding not counted.
    """

    rewards_N: Tensor
    group_N: Tensor
    micro_batches: tuple[MicroBatch, ...]
    whole_groups: bool
    tokens: int


def group_order(groups: int, updates: int, per_update: int, seed: int, iteration: int) -> np.ndarray:
    """Group numbers of every mini-batch, int64 [updates, per_update]; the same for equal arguments.

    Raises:
        InputError: fewer groups than the mini-batches need.
    """
    if groups < updates * per_update:
        raise InputError(
            f"iteration {iteration} has {groups} groups, but train.updates {updates} x train.mini_batch_prompts "
            f"{per_update} need {updates * per_update}; lower one of them or sample more prompts"
        )
    order = np.random.default_rng(derive_seed(seed, "mini-batches", iteration)).permutation(groups)
    return order[: updates * per_update].reshape(updates, per_update)


def build_mini_batch(
    data: Trajectories, groups: np.ndarray, budget: int, credit_uses_ratio: bool, device: torch.device
) -> MiniBatch:
    """Mini-batch of the given groups, in micro-batches of at most `budget` padded tokens.

    A sequence longer than the budget is a micro-batch of its own. Where the objective's credit needs the
    log-ratios of whole groups, groups are kept together unless their padding costs more than the extra forward
    pass that a finer split needs.
    """
    rows = (groups[:, None] * data.group_size + np.arange(data.group_size)).ravel()
    lengths = (data.starts[rows + 1] - data.starts[rows]) - 1
    by_length = partition([[i] for i in range(len(rows))], lengths, budget)
    whole_groups = False
    plan = by_length
    if credit_uses_ratio:
        units = np.arange(len(rows)).reshape(-1, data.group_size).tolist()
        by_group = partition(units, lengths, budget)
        fits = all(_padded(part, lengths) <= budget for part in by_group)
        if fits and _cost(by_group, lengths) <= _cost(by_length, lengths) * (1.0 + FIRST_PASS_COST):
            plan, whole_groups = by_group, True
    return MiniBatch(
        rewards_N=torch.from_numpy(data.rewards[rows]).to(device),
        group_N=torch.arange(len(groups), device=device).repeat_interleave(data.group_size),
        micro_batches=tuple(build_micro_batch(data, rows, np.array(part), device) for part in plan),
        whole_groups=whole_groups,
        tokens=int((lengths + 1).sum()),
    )


def build_micro_batch(data: Trajectories, rows: np.ndarray, part: np.ndarray, device: torch.device) -> MicroBatch:
    """Pad the sequences `rows[part]` of `data` into one rectangle."""
    chosen = rows[part]
    starts, lengths = data.starts[chosen], np.diff(data.starts)[chosen] - 1
    prompts = data.prompt_lengths[chosen]
    place = np.arange(int(lengths.max()))
    real_BT = place < lengths[:, None]
    input_ids_BT = np.zeros(real_BT.shape, dtype=np.int64)
    input_ids_BT[real_BT] = data.tokens[(starts[:, None] + place)[real_BT]]
    predicts_BT = real_BT & (place >= prompts[:, None] - 1)
    behaviour = data.behaviour_starts[chosen][:, None] + place - (prompts[:, None] - 1)
    return MicroBatch(
        rows_N=torch.from_numpy(part).to(device),
        input_ids_BT=torch.from_numpy(input_ids_BT).to(device),
        attention_mask_BT=torch.from_numpy(real_BT.astype(np.int64)).to(device),
        predictors_T=torch.from_numpy(np.flatnonzero(predicts_BT)).to(device),
        targets_T=torch.from_numpy(data.tokens[(starts[:, None] + place + 1)[predicts_BT]]).to(device),
        behaviour_logprobs_T=torch.from_numpy(data.behaviour_logprobs[behaviour[predicts_BT]]).to(device),
        sequence_T=torch.from_numpy(np.nonzero(predicts_BT)[0]).to(device),
    )


def partition(units: list[list[int]], lengths: np.ndarray, budget: int) -> list[list[int]]:
    """Put units (sequences that stay together) into parts of at most `budget` padded tokens.

    Units go in order of their longest sequence, and the cuts are those that cost least in padded tokens and
    forward passes (dynamic programming from the end).
    """
    units = sorted(units, key=lambda unit: -int(lengths[unit].max()))
    widths = np.array([lengths[unit].max() for unit in units])
    filled = np.concatenate([[0], np.cumsum([len(unit) for unit in units])])
    least = np.zeros(len(units) + 1)
    cut = np.zeros(len(units), dtype=np.int64)
    for begin in reversed(range(len(units))):
        padded = widths[begin] * (filled[begin + 1 :] - filled[begin])
        ends = max(1, int(np.searchsorted(padded, budget, side="right")))
        cost = padded[:ends] + PASS_OVERHEAD + least[begin + 1 : begin + 1 + ends]
        cut[begin] = begin + 1 + int(np.argmin(cost))
        least[begin] = cost.min()
    parts: list[list[int]] = []
    begin = 0
    while begin < len(units):
        parts.append([i for unit in units[begin : cut[begin]] for i in unit])
        begin = int(cut[begin])
    return parts


def _cost(parts: list[list[int]], lengths: np.ndarray) -> int:
    return sum(_padded(part, lengths) + PASS_OVERHEAD for part in parts)


def _padded(part: list[int], lengths: np.ndarray) -> int:
    return len(part) * int(lengths[part].max())
