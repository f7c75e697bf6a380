"""Arrow schemas of prompts, trajectories and rewards, and validation of tables against them."""

import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError

SCHEMA_VERSION = "1"

PROMPTS = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("prompt_token_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)
"""One row per prompt: `prompt` is the rendered text, `metadata` the row's other columns as JSON."""

TRAJECTORIES = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("prompt_token_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("completion_token_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("behaviour_logprobs", pa.list_(pa.float32()), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
"""One row per completion; `behaviour_logprobs` are nats under the distribution that drew each token.

A completion that the engine aborted (`finish_reason` abort) may have no tokens; it is not graded, nor trained on.
"""

REWARDS = pa.schema(
    [
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("reward", pa.float32(), nullable=False),
        pa.field("components", pa.map_(pa.string(), pa.float32()), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("grader", pa.string(), nullable=False),
        pa.field("grader_version", pa.string(), nullable=False),
        pa.field("seconds", pa.float32(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)
"""One row per completion, joined to trajectories by (group_id, sample_index)."""

GUIDED = "guided-"
"""Beginning of the `group_id` of groups whose `prompt_token_ids` end with a part of a good completion; their `text`
begins with it."""

GUIDE = pa.schema(
    [
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("guide_logprobs", pa.list_(pa.float32()), nullable=False),
    ]
)
"""One row per completion that an iteration trains on: log-probabilities of `train.guide`, nats, at the temperature of
the rollout."""

MEASURED = ("behaviour_logprobs", "seconds")
"""Columns that are not the same again when rows are made again: times, and what is summed in another order."""

SPLITS = ("train", "eval")
FINISH_REASONS = ("stop", "length", "abort")
STATUSES = ("ok", "timeout", "error", "invalid")
UNGRADED = ("error", "invalid")
"""The statuses of completions that could not be graded: their reward of 0 says nothing about the policy."""

_BY_NAME = {"prompts": PROMPTS, "trajectories": TRAJECTORIES, "rewards": REWARDS}


def with_metadata(schema: pa.Schema, facts: Mapping[str, object]) -> pa.Schema:
    """Return the schema with its version and the given facts as JSON under the key `rapid`."""
    return schema.with_metadata({"rapid": json.dumps({"schema_version": SCHEMA_VERSION, **facts}, sort_keys=True)})


def read_facts(schema: pa.Schema, where: str) -> dict[str, object]:
    """Return the facts stored with a table.

    Raises:
        InputError: the table was not written by this program, or with another schema version.
    """
    raw = (schema.metadata or {}).get(b"rapid")
    try:
        facts: dict[str, object] = json.loads(raw) if raw else {}
    except ValueError:
        raise InputError(f"{where} is damaged: its metadata is not JSON") from None
    if facts.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{where} has schema version {facts.get('schema_version')}, this program reads {SCHEMA_VERSION}; "
            "it was written by another version or is not a table of this program"
        )
    return facts


def validate(table: pa.Table, kind: str, where: str) -> None:
    """Check columns, nulls and value ranges of a `prompts`, `trajectories` or `rewards` table.

    Raises:
        InputError: names the file, the column and the first bad row.
    """
    validate_columns(table, kind, where)
    if kind == "prompts":
        _validate_prompts(table, where)
    elif kind == "trajectories":
        _unique(table, ("group_id", "sample_index"), where)
        for row, reason in trajectory_problems(table):
            raise InputError(f"{where}, row {row}: {reason}")
    elif kind == "rewards":
        _validate_rewards(table, where)


def validate_columns(table: pa.Table, kind: str, where: str) -> None:
    """Check names, types and nulls of a table's columns; errors as in `validate`."""
    schema = _BY_NAME[kind]
    if not table.schema.remove_metadata().equals(schema):
        missing = [f.name for f in schema if f.name not in table.column_names]
        detail = f"columns missing: {', '.join(missing)}" if missing else "column types differ"
        raise InputError(f"{where} is not a {kind} table: {detail}; expected {schema.names}")
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            row = pc.index(pc.is_null(table[field.name]), True).as_py()
            raise InputError(f"{where}, row {row}: {field.name} is missing")


def trajectory_problems(table: pa.Table) -> list[tuple[int, str]]:
    """Return (row, reason) of each invalid row of a trajectories table, in order of rows."""
    tokens, logprobs = (table[name].combine_chunks() for name in ("completion_token_ids", "behaviour_logprobs"))
    token_lengths = pc.list_value_length(tokens).to_numpy(zero_copy_only=False)
    logprob_lengths = pc.list_value_length(logprobs).to_numpy(zero_copy_only=False)
    flat = logprobs.flatten().to_numpy(zero_copy_only=False)
    impossible = np.flatnonzero(~np.isfinite(flat) | (flat > 1e-6))
    rows = np.searchsorted(np.cumsum(logprob_lengths), impossible, side="right")
    _, first = np.unique(rows, return_index=True)
    finishes = np.asarray(table["finish_reason"].to_pylist())
    found = [(int(rows[i]), f"behaviour_logprobs holds {flat[impossible[i]]}, not a log-probability") for i in first]
    for bad, reason in (
        (token_lengths != logprob_lengths, "behaviour_logprobs and completion_token_ids differ in length"),
        ((token_lengths == 0) & (finishes != "abort"), "completion_token_ids is empty"),
        (~np.isin(table["split"].to_pylist(), SPLITS), f"split is not in {SPLITS}"),
        (~np.isin(finishes, FINISH_REASONS), f"finish_reason is not in {FINISH_REASONS}"),
    ):
        found += [(int(row), reason) for row in np.flatnonzero(bad)]
    return sorted(found)


def _validate_prompts(table: pa.Table, where: str) -> None:
    _unique(table, ("prompt_id",), where)
    _refuse(pc.list_value_length(table["prompt_token_ids"]).to_numpy() == 0, where, "prompt_token_ids is empty")
    _refuse(~np.isin(table["split"].to_pylist(), SPLITS), where, f"split is not in {SPLITS}")


def _validate_rewards(table: pa.Table, where: str) -> None:
    _unique(table, ("group_id", "sample_index"), where)
    rewards = table["reward"].to_numpy()
    _refuse(~np.isfinite(rewards), where, "reward is not finite")
    _refuse(~np.isin(table["status"].to_pylist(), STATUSES), where, f"status is not in {STATUSES}")


def _unique(table: pa.Table, columns: tuple[str, ...], where: str) -> None:
    seen = set()
    for row, key in enumerate(zip(*(table[name].to_pylist() for name in columns), strict=True)):
        if key in seen:
            named = ", ".join(f"{name} {value!r}" for name, value in zip(columns, key, strict=True))
            raise InputError(f"{where}, row {row}: {named} appears twice")
        seen.add(key)


def _refuse(bad: np.ndarray, where: str, reason: str) -> None:
    if bad.any():
        raise InputError(f"{where}, row {int(np.argmax(bad))}: {reason}")
