"""The stored completions of one iteration with their rewards, checked, as packed arrays."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.contract.schemas import TRAJECTORIES, UNGRADED, read_facts, trajectory_problems
from components.results import graded_groups, read_shard
from components.runtime.progress import note
from components.store import Run

_Problem = tuple[int, str]
"""Index into the table, and why that row is bad."""


@dataclass(frozen=True)
class Trajectories:
    """Training completions sorted by (group_id, sample_index); group g holds rows [g * size, (g + 1) * size).

    Attributes:
        tokens: int64, prompt and completion of every row one after the other.
        starts: int64 [N + 1], index in `tokens` where each row begins.
        prompt_lengths: int64 [N].
        behaviour_logprobs: float32, log mu of all completion tokens in the order of `tokens`.
        behaviour_starts: int64 [N + 1], the same in `behaviour_logprobs`.
        rewards: float32 [N].
        truncated: bool [N], completions cut off at the longest length.
        group_size: completions per group.
        group_ids: str [groups].
        guide_logprobs: float32, log-probabilities of the guide, in the order of `behaviour_logprobs`; NaN where not
            computed.
        bad_groups: groups left out because of bad rows.
        ungraded_groups: groups left out because a completion could not be graded.
    """

    tokens: np.ndarray
    starts: np.ndarray
    prompt_lengths: np.ndarray
    behaviour_logprobs: np.ndarray
    behaviour_starts: np.ndarray
    rewards: np.ndarray
    truncated: np.ndarray
    group_size: int
    group_ids: np.ndarray
    guide_logprobs: np.ndarray | None = None
    bad_groups: int = 0
    ungraded_groups: int = 0

    @property
    def groups(self) -> int:
        return len(self.rewards) // self.group_size

    def rows_of(self, groups: np.ndarray) -> np.ndarray:
        """Return the rows of some groups, int64."""
        rows: np.ndarray = groups[:, None] * self.group_size + np.arange(self.group_size)
        return rows.ravel()

    def completion_places(self, rows: np.ndarray) -> np.ndarray:
        """Return the places of the completion tokens of these rows in `behaviour_logprobs`, int64."""
        return _places(self.behaviour_starts, rows)[0]

    def prompt(self, group: int) -> np.ndarray:
        """Return the token ids of a group's prompt."""
        row = group * self.group_size
        return self.tokens[self.starts[row] : self.starts[row] + self.prompt_lengths[row]]

    def reward_spread(self) -> np.ndarray:
        """Return the standard deviation of each group's rewards, float64 [groups]; exactly 0 where all are equal."""
        by_group = self.rewards.reshape(-1, self.group_size).astype(np.float64)
        return np.where(by_group.max(axis=1) == by_group.min(axis=1), 0.0, by_group.std(axis=1))

    def take(self, groups: np.ndarray) -> "Trajectories":
        """Return the groups of these numbers, in this order."""
        rows = self.rows_of(groups)
        tokens, starts = _take(self.tokens, self.starts, rows)
        behaviour, behaviour_starts = _take(self.behaviour_logprobs, self.behaviour_starts, rows)
        return Trajectories(
            tokens=tokens,
            starts=starts,
            prompt_lengths=self.prompt_lengths[rows],
            behaviour_logprobs=behaviour,
            behaviour_starts=behaviour_starts,
            rewards=self.rewards[rows],
            truncated=self.truncated[rows],
            group_size=self.group_size,
            group_ids=self.group_ids[groups],
            guide_logprobs=None
            if self.guide_logprobs is None
            else _take(self.guide_logprobs, self.behaviour_starts, rows)[0],
        )

    def followed_by(self, other: "Trajectories") -> "Trajectories":
        """Return these groups and, with the numbers after them, those of `other`; the counts stay those of these."""
        return replace(
            self,
            tokens=np.concatenate([self.tokens, other.tokens]),
            starts=np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
            prompt_lengths=np.concatenate([self.prompt_lengths, other.prompt_lengths]),
            behaviour_logprobs=np.concatenate([self.behaviour_logprobs, other.behaviour_logprobs]),
            behaviour_starts=np.concatenate(
                [self.behaviour_starts, self.behaviour_starts[-1] + other.behaviour_starts[1:]]
            ),
            rewards=np.concatenate([self.rewards, other.rewards]),
            truncated=np.concatenate([self.truncated, other.truncated]),
            group_ids=np.concatenate([self.group_ids, other.group_ids]),
            guide_logprobs=None
            if self.guide_logprobs is None or other.guide_logprobs is None
            else np.concatenate([self.guide_logprobs, other.guide_logprobs]),
        )


def replayed_iterations(config: RunConfig, iteration: int) -> range:
    """Return the earlier iterations that an iteration's mini-batches draw groups from, oldest first."""
    replay = config.loop.replay
    return range(max(1, iteration - replay.iterations), iteration) if replay else range(0)


def read_trajectories(run: Run, iteration: int, policy: Manifest, vocabulary: int) -> Trajectories:
    """Read, join and check the training rows of all shards.

    Groups with bad rows are left out as far as `train.max_bad_group_share` allows, and all groups with a completion
    that could not be graded: its reward of 0 says nothing about the policy.

    Args:
        policy: manifest of the behaviour policy; its facts name weights and tokenizer.
        vocabulary: number of token ids that have an embedding.

    Raises:
        InputError: naming the file and row: sampled from another policy, tokenizer or temperature; rewards missing or
            of other trajectories; incomplete groups; empty completions; invalid log-probabilities or token ids.
    """
    shards = range(run.config.rollout.shards)
    parts = (part for shard in shards for part in read_shard(run, Round.iteration(iteration), shard, bad_rows=True))
    table = pa.concat_tables([_training_rows(run, part, policy) for part in parts])
    if table.num_rows == 0:
        raise InputError(f"iteration {iteration} of {run.uri} has no training trajectories")
    table = table.take(pc.sort_indices(table, [("group_id", "ascending"), ("sample_index", "ascending")]))
    table, ungraded_groups = _keep_graded_groups(table)
    if table.num_rows == 0:
        raise InputError(f"iteration {iteration} of {run.uri} has no group whose completions could all be graded")
    table, bad_groups = _keep_good_groups(
        table, run.config.rollout.group_size, vocabulary, run.config.train.max_bad_group_share
    )
    if table.num_rows == 0:
        raise InputError(f"iteration {iteration} of {run.uri} has no group whose rows are all good")
    prompts, prompt_lengths = _flatten(table["prompt_token_ids"])
    completions, completion_lengths = _flatten(table["completion_token_ids"])
    behaviour, _ = _flatten(table["behaviour_logprobs"])
    starts = _starts(prompt_lengths + completion_lengths)
    tokens = np.empty(starts[-1], dtype=np.int64)
    offset = np.arange(len(tokens)) - np.repeat(starts[:-1], np.diff(starts))
    is_prompt = offset < np.repeat(prompt_lengths, np.diff(starts))
    tokens[is_prompt], tokens[~is_prompt] = prompts, completions
    return Trajectories(
        tokens=tokens,
        starts=starts,
        prompt_lengths=prompt_lengths,
        behaviour_logprobs=behaviour.astype(np.float32),
        behaviour_starts=_starts(completion_lengths),
        rewards=table["reward"].to_numpy().astype(np.float32),
        truncated=pc.equal(table["finish_reason"], "length").to_numpy(),
        group_size=run.config.rollout.group_size,
        group_ids=table["group_id"].to_numpy()[:: run.config.rollout.group_size],
        bad_groups=bad_groups,
        ungraded_groups=ungraded_groups,
    )


def _training_rows(run: Run, part: pa.Table, policy: Manifest) -> pa.Table:
    """Return the training rows of a part of `read_shard`, once its metadata names the behaviour policy."""
    if part.num_rows:
        where = part["file"][0].as_py()
        facts = read_facts(part.schema, where)
        for name, wanted in (
            ("weights_digest", policy.facts["weights_digest"]),
            ("tokenizer_digest", policy.facts["tokenizer_digest"]),
            ("temperature", run.config.rollout.temperature),
        ):
            if facts.get(name) != wanted:
                raise InputError(
                    f"{where} was sampled with {name} {facts.get(name)}, but its behaviour policy has {wanted}; "
                    "importance weights need the policy, tokenizer and temperature that sampled it"
                )
    rows = part.filter(pc.equal(part["split"], "train"))
    return rows.select([*TRAJECTORIES.names, "reward", "status", "file", "row", "rewards"]).replace_schema_metadata(
        None
    )


def _take(values: np.ndarray, starts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of these rows one after the other, and where each begins."""
    places, begins = _places(starts, rows)
    return values[places], begins


def _places(starts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of all values of these rows, and where in that list each row begins."""
    lengths = np.diff(starts)[rows]
    begins = _starts(lengths)
    return np.arange(begins[-1]) + np.repeat(starts[rows] - begins[:-1], lengths), begins


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


def _keep_graded_groups(table: pa.Table) -> tuple[pa.Table, int]:
    """Return the rows of groups without a completion that could not be graded, and the number of other groups.

    A completion without a row of rewards is a bad row and stays.
    """
    graded = graded_groups(table)
    groups, kept = (pc.count_distinct(rows["group_id"]).as_py() for rows in (table, graded))
    if kept < groups:
        failed = pc.sum(pc.is_in(table["status"], value_set=pa.array(UNGRADED))).as_py()
        note(f"{groups - kept} of {groups} groups left out: {failed} of their completions could not be graded")
    return graded, groups - kept


def _keep_good_groups(table: pa.Table, size: int, vocabulary: int, max_bad_share: float) -> tuple[pa.Table, int]:
    """Return the rows of groups whose rows are all good, and the number of other groups.

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


def _flatten(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a list column one after the other, and the length of each list (int64)."""
    whole = column.combine_chunks()
    values = whole.flatten().to_numpy(zero_copy_only=False)
    return values, pc.list_value_length(whole).to_numpy(zero_copy_only=False).astype(np.int64)


def _problems(table: pa.Table, size: int, vocabulary: int) -> Iterator[_Problem]:
    keys = list(zip(table["group_id"].to_pylist(), table["sample_index"].to_pylist(), strict=True))
    for index in np.flatnonzero(pc.is_null(table["reward"]).to_numpy()):
        yield int(index), f"completion {keys[index]} has no reward in {table['rewards'][int(index)].as_py()}"
    yield from _incomplete_groups(table, size)
    for index, (one, other) in enumerate(pairwise(keys)):
        if one == other:
            yield index + 1, f"completion {one} is in another part already"
    yield from _other_prompts(table)
    yield from trajectory_problems(table.select(TRAJECTORIES.names))
    for name in ("prompt_token_ids", "completion_token_ids"):
        yield from _foreign_tokens(table, name, vocabulary)


def _incomplete_groups(table: pa.Table, size: int) -> Iterator[_Problem]:
    group_ids = table["group_id"].to_numpy()
    _, first, counts = np.unique(group_ids, return_index=True, return_counts=True)
    for index, count in zip(first[counts != size], counts[counts != size], strict=True):
        alone = "; a group of one has no baseline" if count == 1 else ""
        reason = f"group {group_ids[index]} has {count} completions, rollout.group_size is {size}{alone}"
        yield int(index), reason


def _other_prompts(table: pa.Table) -> Iterator[_Problem]:
    group_ids = table["group_id"].to_numpy()
    tokens, lengths = _flatten(table["prompt_token_ids"])
    prompts = np.split(tokens, np.cumsum(lengths)[:-1])
    for index in np.flatnonzero(group_ids[1:] == group_ids[:-1]) + 1:
        if not np.array_equal(prompts[index], prompts[index - 1]):
            yield int(index), f"group {group_ids[index]} has more than one prompt"


def _foreign_tokens(table: pa.Table, name: str, vocabulary: int) -> Iterator[_Problem]:
    flat, lengths = _flatten(table[name])
    if name == "prompt_token_ids":
        for index in np.flatnonzero(lengths == 0):
            yield int(index), f"{name} is empty"
    outside = np.flatnonzero((flat < 0) | (flat >= vocabulary))
    rows, first = np.unique(np.searchsorted(np.cumsum(lengths), outside, side="right"), return_index=True)
    for index, place in zip(rows, outside[first], strict=True):
        reason = f"{name} holds {flat[place]}, outside the policy's vocabulary of {vocabulary}"
        yield int(index), f"{reason}; the trajectories come from another tokenizer"
