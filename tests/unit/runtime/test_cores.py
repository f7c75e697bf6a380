import os
from pathlib import Path

import pytest

from components.runtime.cores import usable_cores

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000\n", ALL), ("100000 100000\n", 1), ("150000 100000\n", min(2, ALL)), ("10000 100000\n", 1),
     ("99900000 100000\n", ALL), ("garbled", ALL)],
)  # fmt: skip
def test_a_containers_limit_counts(tmp_path: Path, limit: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_no_limit_where_there_is_no_cgroup(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "cpu.max") == ALL
