"""Which sequences of a mini-batch are computed at once, and by which process."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MICRO_BATCH_OVERHEAD = 128
"""Cost of one more forward and backward pass whatever its size, in tokens."""


@dataclass(frozen=True)
class Part:
    """Sequences of one forward pass.

    Attributes:
        groups: sequences of the mini-batch, those of a group together.
        tokens: of the pass, padding included.
        whole: whether its groups are all there.
    """

    groups: list[list[int]]
    tokens: int
    whole: bool


def plan_groups(prompts_N: np.ndarray, completions_N: np.ndarray, size: int, budget: int, world: int) -> list[Part]:
    """Put groups into as few rows of at most `budget` tokens as `world` processes can share, and as even ones.

    A group that is larger than the budget is split and its prompt repeated, and so is every group where there are fewer
    than processes. A completion that is larger still is in a row of its own.

    Args:
        prompts_N: tokens of each sequence's prompt.
        completions_N: tokens that each completion takes in a row.
        size: completions of a group.
    """
    groups = np.arange(len(prompts_N)).reshape(-1, size)
    tokens = prompts_N[groups[:, 0]] + completions_N[groups].sum(1)
    pieces = -(-world // len(groups))
    fits = (tokens <= budget) & (pieces == 1)
    whole = [group.tolist() for group in groups[fits]]
    split = []
    for group in groups[~fits]:
        room = max(1, budget - int(prompts_N[group[0]]))
        split += [group[piece].tolist() for piece in fill(completions_N[group].tolist(), room, pieces)]
    parts = []
    for units, are_whole in ((whole, True), (split, False)):
        sizes = [int(prompts_N[unit[0]] + completions_N[unit].sum()) for unit in units]
        for bin_ in fill(sizes, budget, world):
            parts.append(Part([units[i] for i in bin_], sum(sizes[i] for i in bin_), are_whole))
    return parts


def plan_padded(lengths_N: np.ndarray, budget: int, world: int) -> list[Part]:
    """Put sequences of these lengths side by side, padded to at most `budget` tokens; a longer one is alone.

    Sequences go in falling order of length, with the cuts that cost least in tokens and forward passes (dynamic
    programming from the end).
    """
    # Every process then has something to do.
    budget = min(budget, -(-int(lengths_N.sum()) // world))
    order = np.argsort(-lengths_N, kind="stable")
    widths = lengths_N[order]
    least = np.zeros(len(order) + 1)
    cut = np.zeros(len(order), dtype=np.int64)
    for begin in reversed(range(len(order))):
        padded = widths[begin] * np.arange(1, len(order) - begin + 1)
        ends = max(1, int(np.searchsorted(padded, budget, side="right")))
        cost = padded[:ends] + MICRO_BATCH_OVERHEAD + least[begin + 1 : begin + 1 + ends]
        cut[begin] = begin + 1 + int(np.argmin(cost))
        least[begin] = cost.min()
    parts: list[Part] = []
    begin = 0
    while begin < len(order):
        end = int(cut[begin])
        rows = order[begin:end].tolist()
        parts.append(Part([[row] for row in rows], int(widths[begin]) * len(rows), False))
        begin = end
    return parts


def fill(sizes: Sequence[int], budget: int, bins: int) -> list[list[int]]:
    """Put items into bins of at most `budget`, as evenly as the least multiple of `bins` allows.

    Items go from the largest to the smallest, each into the emptiest bin. One that exceeds the budget is alone.

    Returns:
        Indices of the items of each bin that holds any.
    """
    order = sorted(range(len(sizes)), key=lambda item: -sizes[item])
    count = max(1, -(-sum(sizes) // (bins * budget))) * bins
    while True:
        filled = [(0, place) for place in range(count)]
        contents: list[list[int]] = [[] for _ in range(count)]
        fits = True
        for item in order:
            total, place = filled[0]
            fits = fits and (total == 0 or total + sizes[item] <= budget)
            heapq.heapreplace(filled, (total + sizes[item], place))
            contents[place].append(item)
        if fits:
            return [content for content in contents if content]
        count += bins


def share(plan: Sequence[Part], rank: int, world: int) -> list[tuple[Part, bool, bool]]:
    """Deal the parts of a plan to the processes, equally many to each.

    Processes must go through forward and backward together, so one that would have nothing left takes the last part
    again without counting it. Split groups come first, then parts go from large to small, dealt back and forth.

    Returns:
        For each turn of this process: its part, whether it counts, and whether the groups of all processes are whole.
    """
    plan = sorted(plan, key=lambda part: (part.whole, -part.tokens))
    turns = []
    for begin in range(0, len(plan), world):
        dealt = plan[begin : begin + world]
        place = rank if (begin // world) % 2 == 0 else world - 1 - rank
        turns.append((dealt[min(place, len(dealt) - 1)], place < len(dealt), all(part.whole for part in dealt)))
    return turns
