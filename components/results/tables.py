"""The stored tables of a run: its prompts, and the trajectories of a round with their rewards.

Every stage, command and report reads them here. Files are compared with the digests in their manifests, and tables
are validated.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.contract.schemas import GUIDED, PROMPTS, REWARDS, TRAJECTORIES, UNGRADED
from components.store import OutputDirectory, Run
from components.store.parts import read_part, read_parts

_KEYS = ("group_id", "sample_index")
_REWARD_COLUMNS = [field for field in REWARDS if field.name not in _KEYS]
COMPLETIONS = pa.schema([*TRAJECTORIES, *_REWARD_COLUMNS])
"""One row per completion: the columns of trajectories, then those of rewards without the keys."""


def read_prompts(run: Run) -> pa.Table:
    """Return the training and held-out prompts of a run, with the columns of `contract.schemas.PROMPTS`.

    Raises:
        InputError: prepare has not finished, or a file is missing or corrupted.
    """
    directory = run.directory(run.layout.prompts)
    manifest = directory.require()
    paths = [output.path for output in manifest.outputs if output.path.endswith(".parquet")]
    tables = [read_part(directory, path, "prompts", manifest) for path in paths]
    return pa.concat_tables([PROMPTS.empty_table(), *(table.replace_schema_metadata() for table in tables)])


def round_manifests(run: Run, round_: Round, rescored: str | None = None) -> list[tuple[Manifest, Manifest]] | None:
    """Return the (rollout, reward) manifests of every shard, None while one is missing.

    Args:
        rescored: name of a re-scoring, whose rewards replace the run's own.
    """
    pairs = []
    for shard in range(run.config.rollout.shards):
        reward = _reward_directory(run, round_, shard, rescored).manifest()
        rollout = run.directory(run.layout.rollout(round_, shard)).manifest() if reward else None
        if reward is None or rollout is None:
            return None
        pairs.append((rollout, reward))
    return pairs


def require_rewards(run: Run, round_: Round, rescored: str | None = None) -> None:
    """Raise InputError unless the rewards of every shard are committed."""
    if round_manifests(run, round_, rescored) is None:
        raise InputError(
            f"{run.uri}: {round_} has no rewards yet, or not for all of its {run.config.rollout.shards} shards"
        )


def scored_inputs(run: Run, iteration: int) -> dict[str, str]:
    """Return what manifests name of an iteration's trajectories and rewards: their digests, by kind and shard.

    Raises:
        InputError: some are not committed.
    """
    inputs, round_ = {}, Round.iteration(iteration)
    for shard in range(run.config.rollout.shards):
        inputs[f"trajectories/{shard:03d}"] = run.directory(run.layout.rollout(round_, shard)).require().digest
        inputs[f"rewards/{shard:03d}"] = run.directory(run.layout.reward(round_, shard)).require().digest
    return inputs


def read_shard(
    run: Run, round_: Round, shard: int, rescored: str | None = None, bad_rows: bool = False
) -> Iterator[pa.Table]:
    """Read the trajectories of one shard with their rewards, joined by (group_id, sample_index), part by part.

    Args:
        rescored: name of a re-scoring, whose rewards replace the run's own.
        bad_rows: whether rows with invalid values or without a reward are returned and left to the caller.

    Yields:
        One table per part of trajectories, with its file metadata and the columns of `COMPLETIONS`, then

        - `file` (string): URI of the part,
        - `row` (int64): row in that file,
        - `rewards` (string): URI of the directory that holds the rewards.

        With `bad_rows` the reward columns of a completion without a reward are null.

    Raises:
        InputError: a manifest or file is missing, a file is corrupted or invalid, or the rewards were given to other
            trajectories.
    """
    rollout = run.directory(run.layout.rollout(round_, shard))
    reward = _reward_directory(run, round_, shard, rescored)
    rollout_manifest, reward_manifest = rollout.require(), reward.require()
    if reward_manifest.inputs.get("trajectories") != rollout_manifest.digest:
        raise InputError(f"{reward.uri} was graded from other trajectories than {rollout.uri} holds; grade them again")
    parts = read_parts(reward, "rewards", reward_manifest)
    rewards = pa.concat_tables([REWARDS.empty_table(), *(part.replace_schema_metadata() for part in parts)])
    places = {key: place for place, key in enumerate(_keys(rewards))}
    for output in rollout_manifest.outputs:
        table = read_part(rollout, output.path, "trajectories", rollout_manifest, columns_only=bad_rows)
        place = pa.array([places.get(key) for key in _keys(table)], pa.int64())
        if place.null_count and not bad_rows:
            row = pc.index(pc.is_null(place), True).as_py()
            raise InputError(f"{reward.uri} has no reward for row {row} of {rollout.uri}/{output.path}")
        for field in _REWARD_COLUMNS:
            table = table.append_column(field.name, rewards[field.name].take(place))
        table = table.append_column("file", pa.repeat(f"{rollout.uri}/{output.path}", table.num_rows))
        table = table.append_column("row", pa.array(np.arange(table.num_rows)))
        yield table.append_column("rewards", pa.repeat(reward.uri, table.num_rows))


def read_round_rows(run: Run, round_: Round, rescored: str | None = None) -> pa.Table:
    """Read every completion of a round whose rewards are all committed, with the columns of `COMPLETIONS`.

    Raises:
        InputError: as `read_shard`.
    """
    tables = [COMPLETIONS.empty_table()]
    for shard in range(run.config.rollout.shards):
        for part in read_shard(run, round_, shard, rescored):
            tables.append(part.select(COMPLETIONS.names).replace_schema_metadata().cast(COMPLETIONS))
    return pa.concat_tables(tables)


def read_completions(run: Run, round_: Round, rescored: str | None = None) -> pa.Table:
    """Read every completion of a round: `COMPLETIONS`, then `prompt`, `answer` and `metadata` of its prompt.

    Raises:
        InputError: the round is not complete, or as `read_shard`.
    """
    require_rewards(run, round_, rescored)
    rows, prompts = read_round_rows(run, round_, rescored), read_prompts(run)
    place = pc.index_in(rows["prompt_id"], prompts["prompt_id"])
    if place.null_count:
        unknown = rows["prompt_id"][pc.index(pc.is_null(place), True).as_py()]
        raise InputError(f"{run.uri}: {round_} has completions of prompt {unknown}, which is not in the run")
    for column in ("prompt", "answer", "metadata"):
        rows = rows.append_column(column, prompts[column].take(place))
    return rows


def without_guided(rows: pa.Table) -> pa.Table:
    """Return the rows of groups that began at their prompt, with nothing of a good completion."""
    return rows.filter(pc.invert(pc.starts_with(rows["group_id"], GUIDED)))


def shown_rows(rows: pa.Table) -> pa.Table:
    """Return held-out rows or, where there are none, those of training groups that are not guided."""
    held_out = rows.filter(pc.equal(rows["split"], "eval"))
    return held_out if held_out.num_rows else without_guided(rows)


def graded_groups(rows: pa.Table) -> pa.Table:
    """Return the rows of groups without a completion that could not be graded; one without a status counts as graded.

    Args:
        rows: with at least the columns `group_id` and `status`.
    """
    failed = rows.filter(pc.is_in(rows["status"], value_set=pa.array(UNGRADED)))
    return rows.filter(pc.invert(pc.is_in(rows["group_id"], value_set=pc.unique(failed["group_id"]))))


def _reward_directory(run: Run, round_: Round, shard: int, rescored: str | None) -> OutputDirectory:
    layout = run.layout
    return run.directory(layout.rescored(rescored, round_, shard) if rescored else layout.reward(round_, shard))


def _keys(table: pa.Table) -> Iterator[tuple[str, int]]:
    return zip(*(table[name].to_pylist() for name in _KEYS), strict=True)
