"""Parquet parts of one directory: written one by one, counted when a manifest names them, resumed after a kill."""

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError
from components.contract.layout import attempt_number, part_index, part_name, split_attempt
from components.contract.manifest import Manifest
from components.contract.schemas import MEASURED, validate, validate_columns
from components.store.base import ObjectExists
from components.store.commit import ANOTHER_PROCESS, OutputDirectory, StageOutput
from components.store.parquet import ROW_GROUP_ROWS, decode, encode


class PartWriter:
    """Appends whole parts to a stage's output.

    Args:
        output: where the parts go.
        kind: `trajectories` or `rewards`.
        schema: the kind's schema with file metadata; parts that earlier attempts left are kept only if their metadata
            is the same.
        group_rows: about how many rows a Parquet row group holds; it ends where a prompt group ends.
    """

    def __init__(self, output: StageOutput, kind: str, schema: pa.Schema, group_rows: int = ROW_GROUP_ROWS) -> None:
        self.output = output
        self.kind = kind
        self.schema = schema
        self.group_rows = group_rows

    def resume(self) -> list[pa.Table]:
        """Return the whole parts that earlier attempts left, in order; `append` continues after them.

        A part is written atomically and its content is checked, so one that exists and reads is whole. Where several
        attempts wrote a part of the same number, the highest attempt's counts, because it knew what came before; what
        an earlier attempt wrote after such a part does not fit it.
        """
        tables: list[pa.Table] = []
        newest = 0
        left = self._left()
        while True:
            for number, key in sorted(left.get(len(tables), ()), reverse=True):
                if number >= newest and (table := self._read(key)) is not None:
                    tables.append(table)
                    newest = number
                    break
            else:
                return tables

    def append(self, table: pa.Table) -> None:
        """Write the next part.

        Raises:
            InputError: another process has taken over, or writes the same directory.
        """
        table = table.cast(self.schema.remove_metadata()).replace_schema_metadata(self.schema.metadata)
        output = self.output
        path = output.path(part_name(len(output.files)))
        validate(table, self.kind, f"{output.uri}/{path}")
        data = encode(table, self.group_rows)
        if output.attempt:
            output.attempt.require_newest()
        try:
            output.store.create(f"{output.key}/{path}", data)
        except ObjectExists:
            raise InputError(
                f"{output.uri}/{path} appeared while this process was about to write it: {ANOTHER_PROCESS}"
            ) from None
        self._record(path, data, table)

    def _record(self, path: str, data: bytes, table: pa.Table) -> None:
        self.output.record(path, data, table.num_rows)
        self.output.content.extend(row_digests(table))

    def _left(self) -> dict[int, list[tuple[int, str]]]:
        """Return the parts that are stored: index -> attempt's number (0 without attempts) and key."""
        found: dict[int, list[tuple[int, str]]] = {}
        for info in self.output.store.list(self.output.key):
            folder, name = split_attempt(info.key.removeprefix(f"{self.output.key}/"))
            if (index := part_index(name)) is not None:
                found.setdefault(index, []).append((attempt_number(folder) or 0, info.key))
        return found

    def _read(self, key: str) -> pa.Table | None:
        """Return a part if it is whole and has this output's metadata, and count it."""
        where = self.output.store.locate(key)
        try:
            data = self.output.store.read(key)
            table = decode(data, where)
            validate(table, self.kind, where)
        except InputError:
            return None
        if table.schema.metadata != self.schema.metadata:
            return None
        self._record(key.removeprefix(f"{self.output.key}/"), data, table)
        return table


def read_part(
    directory: OutputDirectory, path: str, kind: str, manifest: Manifest | None = None, columns_only: bool = False
) -> pa.Table:
    """Return one committed table, verified and validated; `columns_only` leaves its values to the caller.

    Raises:
        InputError: the file is missing, corrupted or not a valid table of that kind.
    """
    where = f"{directory.uri}/{path}"
    table = decode(directory.read(path, manifest), where)
    (validate_columns if columns_only else validate)(table, kind, where)
    return table


def read_parts(directory: OutputDirectory, kind: str, manifest: Manifest | None = None) -> list[pa.Table]:
    """Return the committed tables of a directory, verified and validated, in order."""
    manifest = manifest or directory.require()
    return [read_part(directory, output.path, kind, manifest) for output in manifest.outputs]


def row_digests(table: pa.Table) -> list[str]:
    """Return a digest of each row with the facts of its table, without the columns in `MEASURED`."""
    facts = hashlib.sha256((table.schema.metadata or {}).get(b"rapid", b""))
    rows = [facts.copy() for _ in range(table.num_rows)]
    for field in table.schema:
        if field.name not in MEASURED:
            for row, value in zip(rows, _values(table[field.name].combine_chunks()), strict=True):
                row.update(len(value).to_bytes(8, "big") + value)
    return [row.hexdigest() for row in rows]


def _values(column: pa.Array) -> Iterator[bytes]:
    if pa.types.is_list(column.type):  # of numbers, millions of them
        flat = column.flatten().to_numpy()
        ends = np.cumsum(pc.list_value_length(column).to_numpy())
        for begin, end in pairwise([0, *ends.tolist()]):
            yield flat[begin:end].tobytes()
    else:
        for value in column.to_pylist():
            yield json.dumps(value).encode()
