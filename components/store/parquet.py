"""Parquet from bytes."""

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(data: bytes) -> pa.Table:
    """The table in a Parquet file's bytes; page checksums are verified where there are any.

    Raises:
        pa.ArrowException, OSError: the bytes are no Parquet, cut off or damaged.
    """
    # On the calling thread alone. Arrow's reader threads hold Python buffers and let go of them after the table has
    # been returned: a process that ends right then is aborted ("terminate called without an active exception").
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True)
    return file.read(use_threads=False)
