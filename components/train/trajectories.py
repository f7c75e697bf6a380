"""The stored completions of one iteration with their rewards, checked, as packed arrays."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.contract.schemas import read_facts, validate_columns
from components.store import OutputDirectory, Run
from components.store.parts import decode, read_parts
from components.train.screening import flatten, keep_good_groups


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
        truncated: bool [N], completions that were cut off at the longest length.
        group_size: completions per group.
        bad_groups: groups left out because of bad rows.
    """

    tokens: np.ndarray
    starts: np.ndarray
    prompt_lengths: np.ndarray
    behaviour_logprobs: np.ndarray
    behaviour_starts: np.ndarray
    rewards: np.ndarray
    truncated: np.ndarray
    group_size: int
    bad_groups: int = 0

    @property
    def groups(self) -> int:
        return len(self.rewards) // self.group_size


def shard_directories(run: Run, iteration: int) -> list[tuple[str, OutputDirectory, OutputDirectory]]:
    """(shard number as in manifests, trajectories, rewards) of every shard of an iteration."""
    round_ = Round.iteration(iteration)
    return [
        (
            f"{shard:03d}",
            run.directory(run.layout.rollout(round_, shard)),
            run.directory(run.layout.reward(round_, shard)),
        )
        for shard in range(run.config.rollout.shards)
    ]


def read_trajectories(run: Run, iteration: int, policy: Manifest, vocabulary: int) -> Trajectories:
    """Read, join and check the training rows of all shards.

    Groups with bad rows are left out as far as `train.max_bad_group_share` allows.

    Args:
        policy: manifest of the behaviour policy; its facts name weights and tokenizer.
        vocabulary: rows of the policy's embedding.

    Raises:
        InputError: naming the file and row: sampled from another policy, tokenizer or temperature; rewards
            missing or of other trajectories; groups not whole; empty completions; log-probabilities or token ids
            that are none.
    """
    tables = []
    for _, rollout, reward in shard_directories(run, iteration):
        tables += _read_shard(run, rollout, reward, policy)
    table = pa.concat_tables(tables)
    if table.num_rows == 0:
        raise InputError(f"iteration {iteration} of {run.uri} has no training trajectories")
    table = table.take(pc.sort_indices(table, [("group_id", "ascending"), ("sample_index", "ascending")]))
    table, bad_groups = keep_good_groups(
        table, run.config.rollout.group_size, vocabulary, run.config.train.max_bad_group_share
    )
    if table.num_rows == 0:
        raise InputError(f"iteration {iteration} of {run.uri} has no group whose rows are all good")
    prompts, prompt_lengths = flatten(table["prompt_token_ids"])
    completions, completion_lengths = flatten(table["completion_token_ids"])
    behaviour, _ = flatten(table["behaviour_logprobs"])
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
        bad_groups=bad_groups,
    )


def _read_shard(run: Run, rollout: OutputDirectory, reward: OutputDirectory, policy: Manifest) -> list[pa.Table]:
    """Training rows with `file`, `row` (in that file), `reward` (null where there is none), `rewards` (its place)."""
    rollout_manifest, reward_manifest = rollout.require(), reward.require()
    if reward_manifest.inputs.get("trajectories") != rollout_manifest.digest:
        raise InputError(f"{reward.uri} was graded from other trajectories than {rollout.uri} holds; grade them again")
    rewards: dict[tuple[str, int], float] = {}
    for part in read_parts(reward, "rewards", reward_manifest):
        keys = zip(part["group_id"].to_pylist(), part["sample_index"].to_pylist(), strict=True)
        rewards |= zip(keys, part["reward"].to_pylist(), strict=True)
    tables = []
    for output in rollout_manifest.outputs:
        where = f"{rollout.uri}/{output.path}"
        part = decode(rollout.read(output.path, rollout_manifest), where)
        validate_columns(part, "trajectories", where)
        _check_origin(run, part, where, policy)
        part = part.append_column("row", pa.array(np.arange(part.num_rows)))
        part = part.append_column("file", pa.repeat(where, part.num_rows)).filter(pc.equal(part["split"], "train"))
        keys = zip(part["group_id"].to_pylist(), part["sample_index"].to_pylist(), strict=True)
        part = part.append_column("reward", pa.array([rewards.get(key) for key in keys], pa.float32()))
        part = part.append_column("rewards", pa.repeat(reward.uri, part.num_rows))
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
                f"{where} was sampled with {name} {facts.get(name)}, but the policy it is to come from has {wanted}; "
                "importance weights need the policy, tokenizer and temperature that sampled"
            )


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])
