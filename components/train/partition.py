"""Cutting sequences into micro-batches at least cost."""

import numpy as np

PASS_OVERHEAD = 128
"""What one more forward and backward pass costs whatever its size, in tokens."""


def partition(units: list[list[int]], lengths: np.ndarray, budget: int, packed: bool) -> list[list[int]]:
    """Put units (sequences that stay together) into parts of at most `budget` tokens, padding counted.

    Units go in falling order of their longest sequence. Padded, the cuts are those that cost least in tokens and
    forward passes (dynamic programming from the end); packed, nothing is padded and parts are filled in that order,
    as evenly as their least number allows.
    """
    units = sorted(units, key=lambda unit: -int(lengths[unit].max()))
    return _packed(units, lengths, budget) if packed else _padded(units, lengths, budget)


def part_tokens(part: list[int], lengths: np.ndarray, packed: bool) -> int:
    """Tokens of one forward pass, padding counted."""
    return int(lengths[part].sum()) if packed else len(part) * int(lengths[part].max())


def plan_cost(parts: list[list[int]], lengths: np.ndarray, packed: bool, world: int = 1) -> int:
    """Tokens and passes of the busiest of `world` processes, in tokens: each round waits for its largest part."""
    costs = sorted((part_tokens(part, lengths, packed) + PASS_OVERHEAD for part in parts), reverse=True)
    return sum(costs[::world])


def _padded(units: list[list[int]], lengths: np.ndarray, budget: int) -> list[list[int]]:
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


def _packed(units: list[list[int]], lengths: np.ndarray, budget: int) -> list[list[int]]:
    """Longest first into the emptiest part with room, a new part where none has any."""
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
