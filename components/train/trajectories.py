"""The stored completions of one iteration with their rewards, checked, as packed arrays."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.contract.schemas import read_facts
from components.store import OutputDirectory, Run
from components.store.parts import read_parts


@dataclass(frozen=True)
class Trajectories:
    """Training completions sorted by (group_id, sample_index); group g holds rows [g * size, (g + 1) * size).

    Attributes:
        tokens: int64, prompt and completion of every row one after the other.
        starts: int64 [N + 1], where a row begins in `tokens`.
        prompt_lengths: int64 [N].
        behaviour_logprobs: float32, log mu of all completion tokens in the order of `tokens`.
        behaviour_starts: int64 [N + 1], where a row begins in `behaviour_logprobs`.
        rewards: float32 [N].
        group_size: completions per group.
    """

    tokens: np.ndarray
    starts: np.ndarray
    prompt_lengths: np.ndarray
    behaviour_logprobs: np.ndarray
    behaviour_starts: np.ndarray
    rewards: np.ndarray
    group_size: int

    @property
    def groups(self) -> int:
        return len(self.rewards) // self.group_size

    @property
    def zero_signal_groups(self) -> int:
        """Groups whose rewards are all equal."""
        by_group = self.rewards.reshape(-1, self.group_size)
        return int((by_group.max(axis=1) == by_group.min(axis=1)).sum())


def shard_directories(run: Run, iteration: int) -> list[tuple[str, OutputDirectory, OutputDirectory]]:
    """(shard number as in manifests, trajectories, rewards) of every shard of an iteration."""
    at = Round.iteration(iteration)
    return [
        (f"{shard:03d}", run.directory(run.layout.rollout(at, shard)), run.directory(run.layout.reward(at, shard)))
        for shard in range(run.config.rollout.shards)
    ]


def read_trajectories(run: Run, iteration: int, policy: Manifest, vocabulary: int) -> Trajectories:
    """Read, join and check the training rows of all shards.

    Args:
        policy: manifest of the policy about to be trained; its facts name weights and tokenizer.
        vocabulary: rows of the policy's embedding.

    Raises:
        InputError: naming the file and row: sampled from another policy, tokenizer or temperature; rewards
            missing or of other trajectories; groups not whole; token ids outside the vocabulary.
    """
    tables = []
    for _, rollout, reward in shard_directories(run, iteration):
        tables += _read_shard(run, rollout, reward, policy)
    table = pa.concat_tables(tables)
    if table.num_rows == 0:
        raise InputError(f"iteration {iteration} of {run.uri} has no training trajectories")
    table = table.take(pc.sort_indices(table, [("group_id", "ascending"), ("sample_index", "ascending")]))
    size = run.config.rollout.group_size
    _check_groups(table, size)
    prompts, prompt_lengths = _flat(table["prompt_token_ids"])
    completions, completion_lengths = _flat(table["completion_token_ids"])
    _check_rows(table, prompt_lengths == 0, "prompt_token_ids is empty")
    for name, flat, lengths in (
        ("prompt_token_ids", prompts, prompt_lengths),
        ("completion_token_ids", completions, completion_lengths),
    ):
        outside = np.flatnonzero((flat < 0) | (flat >= vocabulary))
        if len(outside):
            row = int(np.searchsorted(np.cumsum(lengths), outside[0], side="right"))
            raise InputError(
                f"{_where(table, row)}: {name} holds {flat[outside[0]]}, outside the policy's vocabulary of "
                f"{vocabulary}; the trajectories come from another tokenizer"
            )
    behaviour, _ = _flat(table["behaviour_logprobs"])
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
        group_size=size,
    )


def _read_shard(run: Run, rollout: OutputDirectory, reward: OutputDirectory, policy: Manifest) -> list[pa.Table]:
    rollout_manifest, reward_manifest = rollout.require(), reward.require()
    if reward_manifest.inputs.get("trajectories") != rollout_manifest.digest:
        raise InputError(f"{reward.uri} was graded from other trajectories than {rollout.uri} holds; grade them again")
    rewards: dict[tuple[str, int], float] = {}
    for part in read_parts(reward, "rewards", reward_manifest):
        rewards |= zip(_keys(part), part["reward"].to_pylist(), strict=True)
    tables = []
    for output, part in zip(
        rollout_manifest.outputs, read_parts(rollout, "trajectories", rollout_manifest), strict=True
    ):
        where = f"{rollout.uri}/{output.path}"
        _check_origin(run, part, where, policy)
        part = part.append_column("row", pa.array(np.arange(part.num_rows)))
        part = part.append_column("file", pa.repeat(where, part.num_rows)).filter(pc.equal(part["split"], "train"))
        keys = _keys(part)
        for index, key in enumerate(keys):
            if key not in rewards:
                raise InputError(f"{_where(part, index)}: completion {key} has no reward in {reward.uri}")
        part = part.append_column("reward", pa.array([rewards[key] for key in keys], pa.float32()))
        tables.append(part.replace_schema_metadata(None))
    return tables


def _check_origin(run: Run, part: pa.Table, where: str, policy: Manifest) -> None:
    facts = read_facts(part.schema, where)
    for name, wanted in (
        ("weights_digest", policy.facts["weights_digest"]),
        ("tokenizer_digest", policy.facts["tokenizer_digest"]),
        ("temperature", run.config.rollout.temperature),
    ):
        if facts.get(name) != wanted:
            raise InputError(
                f"{where} was sampled with {name} {facts.get(name)}, but the policy to be trained has {wanted}; "
                "importance weights need the policy, tokenizer and temperature that sampled"
            )


def _check_groups(table: pa.Table, size: int) -> None:
    group_ids = table["group_id"].to_numpy()
    _, first, counts = np.unique(group_ids, return_index=True, return_counts=True)
    for row, count in zip(first[counts != size], counts[counts != size], strict=True):
        alone = "; a group of one has no baseline" if count == 1 else ""
        raise InputError(
            f"{_where(table, int(row))}: group {group_ids[row]} has {count} completions, "
            f"rollout.group_size is {size}{alone}"
        )
    keys = _keys(table)
    for index, (one, other) in enumerate(pairwise(keys)):
        if one == other:
            raise InputError(f"{_where(table, index + 1)}: completion {one} is in another part already")


def _check_rows(table: pa.Table, bad: np.ndarray, reason: str) -> None:
    if bad.any():
        raise InputError(f"{_where(table, int(np.argmax(bad)))}: {reason}")


def _where(table: pa.Table, index: int) -> str:
    return f"{table['file'][index].as_py()}, row {table['row'][index].as_py()}"


def _keys(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["group_id"].to_pylist(), table["sample_index"].to_pylist(), strict=True))


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Values of a list column one after the other, and the length of each list."""
    whole = column.combine_chunks()
    values = whole.flatten().to_numpy(zero_copy_only=False)
    return values, pc.list_value_length(whole).to_numpy(zero_copy_only=False).astype(np.int64)


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])
