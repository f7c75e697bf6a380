"""Parquet parts of one directory: written one by one, counted when a manifest names them, resumed after a kill."""

import pyarrow as pa

from components.contract.errors import InputError
from components.contract.layout import part_index, part_name
from components.contract.manifest import Manifest
from components.contract.schemas import validate, validate_columns
from components.store.base import ObjectExists, ObjectMissing
from components.store.commit import ANOTHER_PROCESS, OutputDirectory, StageOutput
from components.store.parquet import ROW_GROUP_ROWS, decode, encode


class PartWriter:
    """Appends whole parts to a stage's output.

    Args:
        output: where the parts go.
        kind: `trajectories` or `rewards`.
        schema: the kind's schema with file metadata; parts left by a killed process are kept only if
            their metadata is the same.
        group_rows: about how many rows a Parquet row group holds; it ends where a prompt group ends.
    """

    def __init__(self, output: StageOutput, kind: str, schema: pa.Schema, group_rows: int = ROW_GROUP_ROWS) -> None:
        self.output = output
        self.kind = kind
        self.schema = schema
        self.group_rows = group_rows
        self._count = 0

    def resume(self) -> list[pa.Table]:
        """Return the whole parts that a killed process left; delete parts made from other inputs or settings.

        A part is written atomically and its content is checked, so one that exists and reads is whole.

        Raises:
            InputError: another process writes or has committed the directory meanwhile.
        """
        tables: list[pa.Table] = []
        while (table := self._left(len(tables))) is not None:
            tables.append(table)
        self._discard_from(len(tables))
        return tables

    def append(self, table: pa.Table) -> None:
        """Write the next part.

        Raises:
            InputError: another process writes the same directory.
        """
        table = table.cast(self.schema.remove_metadata()).replace_schema_metadata(self.schema.metadata)
        name = part_name(self._count)
        validate(table, self.kind, f"{self.output.uri}/{name}")
        data = encode(table, self.group_rows)
        try:
            self.output.store.create(f"{self.output.key}/{name}", data)
        except ObjectExists:
            raise InputError(
                f"{self.output.uri}/{name} appeared while this process was about to write it: {ANOTHER_PROCESS}"
            ) from None
        self._record(data, table.num_rows)

    def _record(self, data: bytes, rows: int) -> None:
        self.output.record(part_name(self._count), data, rows)
        self._count += 1

    def _left(self, index: int) -> pa.Table | None:
        """Return the part of that number if it exists, is whole and has this output's metadata."""
        key = f"{self.output.key}/{part_name(index)}"
        where = self.output.store.locate(key)
        try:
            data = self.output.store.read(key)
        except ObjectMissing:
            return None
        try:
            table = decode(data, where)
            validate(table, self.kind, where)
        except InputError:
            return None
        if table.schema.metadata != self.schema.metadata:
            return None
        self._record(data, table.num_rows)
        return table

    def _discard_from(self, first: int) -> None:
        """Delete the parts from that number on, so that their names are free."""
        listed = (info.key.rsplit("/", 1)[-1] for info in self.output.store.list(self.output.key))
        indices = [index for name in listed if (index := part_index(name)) is not None and index >= first]
        if not indices:
            return
        # A part that is ours after all was written since `resume` looked for it.
        if self.output.manifest() is not None or (first in indices and self._left(first) is not None):
            raise InputError(f"another process writes {self.output.uri}: {ANOTHER_PROCESS}")
        # From the end: killed half-way, this leaves no gap behind which parts would be overlooked.
        for index in sorted(indices, reverse=True):
            self.output.store.delete(f"{self.output.key}/{part_name(index)}")


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
