"""Parquet from bytes."""

import subprocess
import sys

import pytest

# Children that read a table and end at once; the parent fails as soon as one of them did not end well.
READ_AND_END = """
import os, sys
import pyarrow as pa
import pyarrow.parquet as pq
from components.store.parquet import read_parquet

sink = pa.BufferOutputStream()
pq.write_table(pa.table({"numbers": list(range(200)), "texts": ["text"] * 200}), sink, compression="zstd")
data = sink.getvalue().to_pybytes()
for _ in range(40):
    child = os.fork()
    if child == 0:
        assert read_parquet(data).num_rows == 200
        break
    if os.waitpid(child, 0)[1]:
        sys.exit("a process that had read Parquet did not end well")
"""


@pytest.mark.slow
def test_a_process_may_end_as_soon_as_it_has_read() -> None:
    done = subprocess.run([sys.executable, "-c", READ_AND_END], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
