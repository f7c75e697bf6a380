"""Parquet parts: resumed after the last whole one, never mixed with other work."""

import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contract.errors import InputError
from components.contract.layout import manifest_key, part_name
from components.contract.manifest import Manifest, outputs_digest
from components.contract.schemas import REWARDS, TRAJECTORIES, read_facts, validate, with_metadata
from components.runtime.clock import Clock
from components.store import Attempt, OutputDirectory, StageOutput, Store, Superseded
from components.store.parquet import decode, encode
from components.store.parts import PartWriter, read_parts

KEY = "runs/demo/iterations/0001/rollout/shard-000"
FACTS = {"run": "demo", "round": "iteration-0001", "seed": 7}


@pytest.fixture
def directory(store: Store) -> OutputDirectory:
    return OutputDirectory(store, KEY)


def writer(directory: OutputDirectory, **facts: object) -> PartWriter:
    """A process of the rollout stage that begins to write the directory."""
    attempt = Attempt.claim(directory.store, "runs/demo/workers/rollout-000")
    output = StageOutput(directory.store, directory.key, "rollout", "demo", {}, "c1", 1, 0, attempt)
    return PartWriter(output, "trajectories", with_metadata(TRAJECTORIES, {**FACTS, **facts}))


def trajectories(*groups: int, samples: int = 2) -> pa.Table:
    rows = [
        {
            "prompt_id": f"p{group}",
            "group_id": f"00001/p{group}",
            "sample_index": sample,
            "split": "train",
            "prompt_token_ids": [1, group],
            "completion_token_ids": [5, 6, sample],
            "behaviour_logprobs": [-0.5, -1.5, 0.0],
            "finish_reason": "stop",
            "text": f"völlig {group} {sample}",
        }
        for group in groups
        for sample in range(samples)
    ]
    return pa.Table.from_pylist(rows, schema=TRAJECTORIES)


def commit(parts: PartWriter) -> Manifest:
    return parts.output.commit(Clock().timings())


def names(directory: OutputDirectory) -> list[str]:
    return [info.key.removeprefix(f"{directory.key}/") for info in directory.store.list(directory.key)]


def groups_of(tables: list[pa.Table]) -> list[int]:
    return [
        int(group.removeprefix("00001/p")) for table in tables for group in sorted(set(table["group_id"].to_pylist()))
    ]


def test_parts_are_written_and_read_back_in_order(directory: OutputDirectory) -> None:
    parts = writer(directory)
    assert parts.resume() == []
    parts.append(trajectories(1, 2))
    parts.append(trajectories(3))
    assert [(file.path, file.rows) for file in parts.output.files] == [
        ("attempt-0001/part-00000.parquet", 4),
        ("attempt-0001/part-00001.parquet", 2),
    ]
    commit(parts)
    first, second = read_parts(directory, "trajectories")
    assert first.replace_schema_metadata(None).equals(trajectories(1, 2))
    assert second.replace_schema_metadata(None).equals(trajectories(3))
    assert read_facts(first.schema, "it") == {"schema_version": "1", **FACTS}


def test_a_second_process_goes_on_after_the_last_whole_part(directory: OutputDirectory) -> None:
    killed = writer(directory)
    killed.append(trajectories(1))
    killed.append(trajectories(2))

    second = writer(directory)
    left = second.resume()
    assert [table["group_id"][0].as_py() for table in left] == ["00001/p1", "00001/p2"]
    second.append(trajectories(3))

    uninterrupted = writer(OutputDirectory(directory.store, "other"))
    for group in (1, 2, 3):
        uninterrupted.append(trajectories(group))
    assert [file.path for file in second.output.files] == [
        "attempt-0001/part-00000.parquet",
        "attempt-0001/part-00001.parquet",
        "attempt-0002/part-00002.parquet",
    ]
    assert outputs_digest(second.output.files) == outputs_digest(uninterrupted.output.files), "the same bytes"


def test_the_digest_is_that_of_the_rows_whatever_their_order_parts_and_measurements(store: Store) -> None:
    def digest(*parts: pa.Table, **facts: object) -> str:
        directory = OutputDirectory(store, f"runs/demo/{len(store.list('runs'))}")
        written = writer(directory, **facts)
        for part in parts:
            written.append(part)
        return commit(written).digest

    def changed(name: str, value: object) -> pa.Table:
        rows = trajectories(2).to_pylist()
        rows[1][name] = value
        return pa.Table.from_pylist(rows, schema=TRAJECTORIES)

    whole = digest(trajectories(1, 2, 3))
    assert digest(trajectories(3), trajectories(2), trajectories(1)) == whole
    resumed = writer(OutputDirectory(store, KEY))
    resumed.append(trajectories(3, 1))
    resumed = writer(OutputDirectory(store, KEY))
    resumed.resume()
    resumed.append(changed("behaviour_logprobs", [-0.5, -1.5, -1e-7]))
    assert commit(resumed).digest == whole
    others = {
        "prompt_id": "p9",
        "group_id": "00001/p9",
        "sample_index": 7,
        "split": "eval",
        "prompt_token_ids": [1],
        "completion_token_ids": [5, 7, 1],
        "finish_reason": "length",
        "text": "völlig anders",
    }
    assert others.keys() == set(TRAJECTORIES.names) - {"behaviour_logprobs"}
    found = [digest(trajectories(1, 3), changed(name, value)) for name, value in others.items()]
    found += [
        digest(trajectories(1, 2)),
        digest(trajectories(1, 2, 3), trajectories(2)),
        digest(trajectories(1, 2, 3), seed=8),
    ]
    assert len({whole, *found}) == 1 + len(found)


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes, offset: int) -> bytes:
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


def flipped(data: bytes) -> bytes:
    """One bit of the last log-probability is wrong, where only a checksum can tell."""
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(6)
    assert column.path_in_schema.startswith("behaviour_logprobs")
    return flip(data, column.data_page_offset + column.total_compressed_size - 30)


def foreign(_: bytes) -> bytes:
    return encode(trajectories(2).replace_schema_metadata(with_metadata(TRAJECTORIES, {**FACTS, "seed": 8}).metadata))


def of_no_schema(_: bytes) -> bytes:
    sink = io.BytesIO()
    pq.write_table(trajectories(2), sink)
    return sink.getvalue()


@pytest.mark.parametrize("spoil", [truncated, flipped, foreign, of_no_schema, lambda _: b""])
def test_parts_that_are_not_whole_or_not_ours_are_discarded(
    directory: OutputDirectory, spoil: Callable[[bytes], bytes]
) -> None:
    killed = writer(directory)
    for group in (1, 2, 3):
        killed.append(trajectories(group))
    key = f"{KEY}/attempt-0001/{part_name(1)}"
    directory.store.write(key, spoil(directory.store.read(key)))
    directory.store.write(f"{KEY}/notes.txt", b"not a part")

    second = writer(directory)
    assert groups_of(second.resume()) == [1]
    second.append(trajectories(2))
    second.append(trajectories(3))
    assert outputs_digest(second.output.files) == outputs_digest(killed.output.files)
    commit(second)
    assert names(directory) == [
        "attempt-0001/part-00000.parquet",
        "attempt-0002/part-00001.parquet",
        "attempt-0002/part-00002.parquet",
        "manifest.json",
        "notes.txt",
    ]


def test_parts_behind_a_gap_do_not_count(directory: OutputDirectory) -> None:
    killed = writer(directory)
    for group in (1, 2, 3, 4):
        killed.append(trajectories(group))
    directory.store.delete(f"{KEY}/attempt-0001/{part_name(1)}")
    assert groups_of(writer(directory).resume()) == [1]


def test_a_third_attempt_goes_on_after_the_first_two(directory: OutputDirectory) -> None:
    one = writer(directory)
    one.append(trajectories(1))
    one.append(trajectories(2))
    two = writer(directory)
    two.resume()
    two.append(trajectories(3))
    assert groups_of(writer(directory).resume()) == [1, 2, 3]


def test_what_an_earlier_attempt_wrote_late_is_left_alone(
    directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = writer(directory)
    one.append(trajectories(1))
    two = writer(directory)
    two.resume()
    two.append(trajectories(2))
    # It looked for a later attempt just before that began.
    monkeypatch.setattr(Attempt, "require_newest", lambda _: None)
    one.append(trajectories(3))
    one.append(trajectories(2))
    assert groups_of(writer(directory).resume()) == [1, 2], "group 2 must not come twice"


def test_a_superseded_attempt_writes_no_part(directory: OutputDirectory) -> None:
    one = writer(directory)
    writer(directory)
    with pytest.raises(Superseded, match="attempt 2 has taken over"):
        one.append(trajectories(1))
    assert names(directory) == []


def test_a_bad_row_is_refused_before_it_is_written(directory: OutputDirectory) -> None:
    table = trajectories(1, 2)
    short = table.set_column(6, TRAJECTORIES.field(6), pa.array([[-1.0] * 3] * 3 + [[-1.0]], pa.list_(pa.float32())))
    with pytest.raises(
        InputError, match=r"attempt-0001/part-00000.parquet, row 3: behaviour_logprobs and completion_token_ids"
    ):
        writer(directory).append(short)
    assert names(directory) == []


def test_a_committed_part_that_changed_is_refused(directory: OutputDirectory) -> None:
    parts = writer(directory)
    parts.append(trajectories(1))
    commit(parts)
    directory.store.write(f"{KEY}/attempt-0001/{part_name(0)}", foreign(b""))
    with pytest.raises(InputError, match=r"part-00000.parquet is corrupted: SHA-256"):
        read_parts(directory, "trajectories")
    assert directory.store.exists(manifest_key(KEY))


def test_reading_as_another_kind_is_refused(directory: OutputDirectory) -> None:
    parts = writer(directory)
    parts.append(trajectories(1))
    commit(parts)
    with pytest.raises(InputError, match=r"part-00000.parquet is not a rewards table: columns missing: reward, comp"):
        read_parts(directory, "rewards")


def test_row_groups_end_where_a_group_ends() -> None:
    table = trajectories(*range(10), samples=3)
    data = encode(table, group_rows=7)
    stored = pq.ParquetFile(io.BytesIO(data))
    bounds = [stored.metadata.row_group(index).num_rows for index in range(stored.num_row_groups)]
    assert bounds == [9, 9, 9, 3]
    assert stored.metadata.row_group(0).column(0).compression == "ZSTD"
    assert stored.read().equals(table)


@pytest.mark.parametrize("schema", [TRAJECTORIES, REWARDS])
def test_an_empty_table_goes_there_and_back(schema: pa.Schema) -> None:
    table = with_metadata(schema, {}).empty_table()
    assert decode(encode(table), "it").equals(table)


def test_one_wrong_bit_anywhere_is_refused_or_harmless() -> None:
    table = trajectories(1, 2).replace_schema_metadata(with_metadata(TRAJECTORIES, FACTS).metadata)
    data = encode(table)
    refused = 0
    for offset in range(0, len(data), 5):
        try:
            found = decode(flip(data, offset), "it")
            validate(found, "trajectories", "it")
        except InputError:
            refused += 1
        else:
            assert found.equals(table)
    assert refused > len(data) / 5 / 3
