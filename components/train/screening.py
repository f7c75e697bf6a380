"""Rows that cannot be trained on, and the groups that are left without them."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError
from components.contract.schemas import TRAJECTORIES, trajectory_problems
from components.runtime.progress import note

Problem = tuple[int, str]
"""Index into the table, and why that row is bad."""


def keep_good_groups(table: pa.Table, size: int, vocabulary: int, max_bad_share: float) -> tuple[pa.Table, int]:
    """The groups whose rows are all good, and how many were not.

    Args:
        table: training rows sorted by (group_id, sample_index), with the columns of TRAJECTORIES and `file`, `row`,
            `reward`, `rewards`.
        size: completions a group has.
        vocabulary: token ids lie below it.

    Raises:
        InputError: more than `max_bad_share` of the groups are bad; names file and row of the first problem.
    """
    problems = sorted(_problems(table, size, vocabulary), key=lambda problem: problem[0])
    if not problems:
        return table, 0
    group_ids = table["group_id"]
    bad = pc.unique(group_ids.take(pa.array([index for index, _ in problems])))
    groups = pc.count_distinct(group_ids).as_py()
    index, reason = problems[0]
    first = f"{table['file'][index].as_py()}, row {table['row'][index].as_py()}: {reason}"
    if len(bad) > max_bad_share * groups:
        share = f"; {len(bad)} of {groups} groups are bad, train.max_bad_group_share is {max_bad_share:g}"
        raise InputError(first + (share if max_bad_share else ""))
    note(f"{len(bad)} of {groups} groups left out because of bad rows, the first: {first}")
    return table.filter(pc.invert(pc.is_in(group_ids, value_set=bad))), len(bad)


def flatten(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Values of a list column one after the other, and the length of each list (int64)."""
    whole = column.combine_chunks()
    values = whole.flatten().to_numpy(zero_copy_only=False)
    return values, pc.list_value_length(whole).to_numpy(zero_copy_only=False).astype(np.int64)


def _problems(table: pa.Table, size: int, vocabulary: int) -> Iterator[Problem]:
    keys = list(zip(table["group_id"].to_pylist(), table["sample_index"].to_pylist(), strict=True))
    for index in np.flatnonzero(pc.is_null(table["reward"]).to_numpy()):
        yield int(index), f"completion {keys[index]} has no reward in {table['rewards'][int(index)].as_py()}"
    yield from _incomplete_groups(table, size)
    for index, (one, other) in enumerate(pairwise(keys)):
        if one == other:
            yield index + 1, f"completion {one} is in another part already"
    yield from trajectory_problems(table.select(TRAJECTORIES.names))
    for name in ("prompt_token_ids", "completion_token_ids"):
        yield from _foreign_tokens(table, name, vocabulary)


def _incomplete_groups(table: pa.Table, size: int) -> Iterator[Problem]:
    group_ids = table["group_id"].to_numpy()
    _, first, counts = np.unique(group_ids, return_index=True, return_counts=True)
    for index, count in zip(first[counts != size], counts[counts != size], strict=True):
        alone = "; a group of one has no baseline" if count == 1 else ""
        reason = f"group {group_ids[index]} has {count} completions, rollout.group_size is {size}{alone}"
        yield int(index), reason


def _foreign_tokens(table: pa.Table, name: str, vocabulary: int) -> Iterator[Problem]:
    flat, lengths = flatten(table[name])
    if name == "prompt_token_ids":
        for index in np.flatnonzero(lengths == 0):
            yield int(index), f"{name} is empty"
    outside = np.flatnonzero((flat < 0) | (flat >= vocabulary))
    rows, first = np.unique(np.searchsorted(np.cumsum(lengths), outside, side="right"), return_index=True)
    for index, place in zip(rows, outside[first], strict=True):
        reason = f"{name} holds {flat[place]}, outside the policy's vocabulary of {vocabulary}"
        yield int(index), f"{reason}; the trajectories come from another tokenizer"
