"""Rows of Parquet and Arrow files, in the values of JSON."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

from components.contract.errors import InputError
from components.prepare.rows import BadRow, Row
from components.store.parquet import read_parquet

_STREAM = b"\xff\xff\xff\xff"


def is_arrow(data: bytes) -> bool:
    """Return whether bytes begin as an Arrow file or stream, as `datasets.save_to_disk` writes."""
    return data.startswith((b"ARROW1", _STREAM))


def parquet_rows(data: bytes, where: str) -> tuple[list[Row], list[BadRow]]:
    """Rows of a Parquet file. Raises InputError where it is damaged."""
    return _rows(_read(data, where, "a Parquet file", read_parquet), where)


def arrow_rows(data: bytes, where: str) -> tuple[list[Row], list[BadRow]]:
    """Rows of an Arrow file or stream. Raises InputError where it is damaged."""
    return _rows(_read(data, where, "an Arrow file", _read_arrow), where)


def _read(data: bytes, where: str, kind: str, read: Callable[[bytes], pa.Table]) -> pa.Table:
    try:
        return read(data)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{where} is truncated or not {kind}: {' '.join(str(error).split())}") from None


def _read_arrow(data: bytes) -> pa.Table:
    options = pa.ipc.IpcReadOptions(use_threads=False)
    opened = pa.ipc.open_stream if data.startswith(_STREAM) else pa.ipc.open_file
    return opened(pa.BufferReader(data), options=options).read_all()


def _rows(table: pa.Table, where: str) -> tuple[list[Row], list[BadRow]]:
    names = table.column_names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{where} has two columns {twice!r}; rename one")
    for place, field in enumerate(table.schema):
        if (kind := _plain_type(field.type)) != field.type:
            column = table.column(place)
            try:
                table = table.set_column(place, field.name, column.cast(kind))
            except (pa.ArrowException, NotImplementedError):
                continue  # its values are judged one by one
    try:
        values = table.to_pylist(maps_as_pydicts="lossy")
    except (ValueError, OverflowError, pa.ArrowException):
        return _one_by_one(table)
    return [Row(number, _plain(value)) for number, value in enumerate(values, start=1)], []


def _one_by_one(table: pa.Table) -> tuple[list[Row], list[BadRow]]:
    rows, bad = [], []
    for number in range(1, table.num_rows + 1):
        try:
            (value,) = table.slice(number - 1, 1).to_pylist(maps_as_pydicts="lossy")
        except UnicodeDecodeError as error:
            bad.append(BadRow(number, f"not UTF-8 (byte 0x{error.object[error.start]:02x})"))
        except (ValueError, OverflowError, pa.ArrowException) as error:
            bad.append(BadRow(number, f"holds a value that cannot be read: {error}"))
        else:
            rows.append(Row(number, _plain(value)))
    return rows, bad


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type with text for moments and decimals, which Python and JSON have in part or not at all."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    if kinds.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if kinds.is_date(kind) or kinds.is_time(kind) or kinds.is_timestamp(kind) or kinds.is_decimal(kind):
        return pa.string()
    if kinds.is_duration(kind):
        return pa.int64()
    if kinds.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in _fields(kind)])
    if kinds.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if kinds.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)), kind.list_size)
    if kinds.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain_type(kind.value_type)))
    if kinds.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind


def _fields(kind: pa.StructType) -> Iterator[pa.Field]:
    return (kind.field(place) for place in range(kind.num_fields))


def _plain(value: Any) -> Any:
    """Return a value without what JSON lacks: NaN becomes null, infinity and bytes of text become text."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value
