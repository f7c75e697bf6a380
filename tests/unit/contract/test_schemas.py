"""Tables of prompts, trajectories and rewards."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contract.errors import InputError
from components.contract.schemas import PROMPTS, REWARDS, TRAJECTORIES, read_facts, validate, with_metadata

SCHEMAS = {"prompts": PROMPTS, "trajectories": TRAJECTORIES, "rewards": REWARDS}


def prompt(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "prompt_id": f"p{index}",
        "split": "train",
        "prompt": "12+3=",
        "prompt_token_ids": [1, 2],
        "answer": None,
        "metadata": '{"level": 3}',
        **changes,
    }


def trajectory(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "prompt_id": "p0",
        "group_id": "00001/p0",
        "sample_index": index,
        "split": "train",
        "prompt_token_ids": [1, 2],
        "completion_token_ids": [3, 4, 5],
        "behaviour_logprobs": [-0.25, 0.0, -3.5],
        "finish_reason": "length",
        "text": "15",
        **changes,
    }


def reward(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "group_id": "00001/p0",
        "sample_index": index,
        "reward": 0.5,
        "components": [("exact", 0.0), ("length", 1.0)],
        "status": "ok",
        "grader": "exact+length",
        "grader_version": "1",
        "seconds": 0.01,
        "detail": None,
        **changes,
    }


ROWS = {"prompts": prompt, "trajectories": trajectory, "rewards": reward}


def table(kind: str, *changes: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([ROWS[kind](index, **change) for index, change in enumerate(changes)], SCHEMAS[kind])


@pytest.mark.parametrize("kind", SCHEMAS)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_table_survives_parquet_with_its_facts(kind: str, rows: int) -> None:
    schema = with_metadata(SCHEMAS[kind], {"run": "demo", "seed": 7, "temperature": 0.7, "stop": ["\n"], "none": None})
    written = table(kind, *[{}] * rows).replace_schema_metadata(schema.metadata)
    sink = io.BytesIO()
    pq.write_table(written, sink, compression="zstd")
    found = pq.read_table(io.BytesIO(sink.getvalue()))
    assert found.equals(written)
    assert found.schema.metadata == written.schema.metadata
    validate(found, kind, "it")
    facts = read_facts(found.schema, "it")
    assert facts == {
        "schema_version": "1",
        "run": "demo",
        "seed": 7,
        "temperature": 0.7,
        "stop": ["\n"],
        "none": None,
    }


def test_an_aborted_completion_may_be_empty() -> None:
    empty = {"completion_token_ids": [], "behaviour_logprobs": [], "finish_reason": "abort"}
    validate(table("trajectories", {}, empty, {"finish_reason": "stop"}), "trajectories", "it")


@given(st.dictionaries(st.text(max_size=8), st.floats(width=32, allow_nan=False), max_size=4))
def test_reward_components_survive_parquet(components: dict[str, float]) -> None:
    written = table("rewards", {"components": list(components.items())})
    sink = io.BytesIO()
    pq.write_table(written, sink)
    (found,) = pq.read_table(io.BytesIO(sink.getvalue()))["components"].to_pylist()
    assert dict(found) == components


def test_a_table_of_several_chunks_is_checked_across_them() -> None:
    pieces = pa.concat_tables([table("trajectories", {"sample_index": index}) for index in range(3)])
    validate(pieces, "trajectories", "it")
    doubled = pa.concat_tables([pieces, table("trajectories", {"sample_index": 1})])
    with pytest.raises(InputError, match=r"row 3: group_id '00001/p0', sample_index 1 appears twice"):
        validate(doubled, "trajectories", "it")
    spoilt = pa.concat_tables([pieces, table("trajectories", {"sample_index": 9, "behaviour_logprobs": [-1, 2, -1]})])
    with pytest.raises(InputError, match=r"row 3: behaviour_logprobs holds 2.0"):
        validate(spoilt.slice(0), "trajectories", "it")
    with pytest.raises(InputError, match=r"row 1: behaviour_logprobs holds 2.0"):
        validate(spoilt.slice(2), "trajectories", "it")


FINE: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("prompts", [FINE, {"prompt_id": "p0"}], r"row 1: prompt_id 'p0' appears twice"),
        ("prompts", [FINE, {"prompt_token_ids": []}], r"row 1: prompt_token_ids is empty"),
        ("prompts", [{"split": "test"}], r"row 0: split is not in \('train', 'eval'\)"),
        ("prompts", [FINE, FINE, {"prompt": None}], r"row 2: prompt is missing"),
        ("trajectories", [FINE, {"sample_index": 0}], r"row 1: group_id '00001/p0', sample_index 0 appears twice"),
        ("trajectories", [FINE, {"behaviour_logprobs": [-1.0]}], r"row 1: behaviour_logprobs and completion_token_ids"),
        ("trajectories", [FINE, {"behaviour_logprobs": [], "completion_token_ids": []}], r"row 1: .* is empty"),
        (
            "trajectories",
            [FINE, {"behaviour_logprobs": [-1, float("nan"), -1]}],
            r"row 1: behaviour_logprobs holds nan",
        ),
        ("trajectories", [FINE, {"behaviour_logprobs": [-1, -np.inf, -1]}], r"row 1: behaviour_logprobs holds -inf"),
        ("trajectories", [FINE, FINE, {"behaviour_logprobs": [-1, -1, 0.1]}], r"row 2: behaviour_logprobs holds 0.1"),
        ("trajectories", [{"behaviour_logprobs": [-1, None, -1]}], r"row 0: behaviour_logprobs holds nan"),
        ("trajectories", [FINE, {"split": "tset"}], r"row 1: split is not in"),
        (
            "trajectories",
            [FINE, {"finish_reason": "eos"}],
            r"row 1: finish_reason is not in \('stop', 'length', 'abort'\)",
        ),
        ("trajectories", [FINE, {"text": None}], r"row 1: text is missing"),
        ("trajectories", [FINE, {"completion_token_ids": None}], r"row 1: completion_token_ids is missing"),
        ("rewards", [FINE, {"sample_index": 0}], r"row 1: group_id '00001/p0', sample_index 0 appears twice"),
        ("rewards", [FINE, {"reward": float("nan")}], r"row 1: reward is not finite"),
        ("rewards", [FINE, {"reward": float("inf")}], r"row 1: reward is not finite"),
        ("rewards", [FINE, {"status": "fine"}], r"row 1: status is not in \('ok', 'timeout', 'error', 'invalid'\)"),
        ("rewards", [FINE, {"components": None}], r"row 1: components is missing"),
    ],
)
def test_a_bad_row_is_named(kind: str, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=r"^s3://b/part-00003.parquet, " + message):
        validate(table(kind, *rows), kind, "s3://b/part-00003.parquet")


@pytest.mark.parametrize("kind", SCHEMAS)
def test_other_columns_are_refused(kind: str) -> None:
    good = table(kind, {})
    first, last = good.column_names[0], good.column_names[-1]
    with pytest.raises(InputError, match=rf"it is not a {kind} table: columns missing: {first}; expected \['{first}'"):
        validate(good.drop_columns([first]), kind, "it")
    with pytest.raises(InputError, match=rf"it is not a {kind} table: column types differ"):
        validate(good.set_column(len(good.column_names) - 1, last, pa.array([1])), kind, "it")
    with pytest.raises(InputError, match=r"column types differ"):
        validate(good.append_column("more", pa.array([1])), kind, "it")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, r"it has schema version None, this program reads 1"),
        ({"rapid": '{"schema_version": "2"}'}, r"it has schema version 2, this program reads 1"),
        ({"rapid": '{"schema_ver'}, r"it is damaged: its metadata is not JSON"),
        ({"pandas": "{}"}, r"schema version None"),
    ],
)
def test_tables_of_other_programs_and_versions(metadata: dict[str, str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_facts(TRAJECTORIES.with_metadata(metadata), "it")
