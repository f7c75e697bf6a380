"""Tables as bytes of Parquet files."""

import io
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from components.contract.errors import InputError
from components.contract.schemas import read_facts

ROW_GROUP_ROWS = 4096


def encode(table: pa.Table, group_rows: int = ROW_GROUP_ROWS) -> bytes:
    """Return the table as zstd Parquet with page checksums; equal tables give equal bytes.

    Args:
        group_rows: about how many rows a row group holds; where there is a `group_id`, it ends where that changes.
    """
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer:
        for begin, end in _row_groups(table, group_rows):
            writer.write_table(table.slice(begin, end - begin), row_group_size=end - begin)
    return sink.getvalue()


def decode(data: bytes, where: str) -> pa.Table:
    """Return the table in the bytes of a file that `where` names.

    Raises:
        InputError: the bytes are not Parquet, or were not written by this program and version.
    """
    try:
        table = read_parquet(data)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{where} is not a Parquet file: {error}") from None
    read_facts(table.schema, where)
    return table


def read_parquet(data: bytes) -> pa.Table:
    """Return the table in the bytes of anybody's Parquet file; page checksums are verified where there are any.

    Raises:
        pa.ArrowException, OSError: the bytes are not Parquet, cut off or damaged.
    """
    # On the calling thread alone. Arrow's reader threads hold Python buffers and let go of them after the table has
    # been returned: a process that ends right then is aborted ("terminate called without an active exception").
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True)
    return file.read(use_threads=False)


def _row_groups(table: pa.Table, group_rows: int) -> list[tuple[int, int]]:
    ids = table["group_id"].to_pylist() if "group_id" in table.column_names else range(table.num_rows)
    bounds = [0]
    for row in range(1, len(ids)):
        if row - bounds[-1] >= group_rows and ids[row] != ids[row - 1]:
            bounds.append(row)
    return list(pairwise([*bounds, len(ids)])) if ids else []
