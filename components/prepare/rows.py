"""Rows of a prompt file: JSON Lines, a JSON list or Parquet."""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from components.contract.errors import InputError
from components.store.parquet import read_parquet

_SHOWN = 10


@dataclass(frozen=True)
class Row:
    """A row by its number, from 1: the line of JSON Lines, the position of the others."""

    number: int
    columns: dict[str, Any]
    file: str = ""
    """Its name, where rows come from several."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and why."""

    number: int
    reason: str
    file: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, [self.file, f"row {self.number}: {self.reason}"]))

    @property
    def place(self) -> tuple[str, int]:
        """Key by which bad rows are sorted."""
        return self.file, self.number


def parse_rows(data: bytes, where: str) -> tuple[list[Row], list[BadRow]]:
    """Rows of a file that are objects, and those that are not.

    Raises:
        InputError: no rows at all, or a file that is damaged as a whole; `where` names it.
    """
    bad: list[BadRow] = []
    if data.startswith(b"PAR1") or where.endswith(".parquet"):
        rows = _parquet(data, where)
    elif where.endswith(".json") and data.lstrip().startswith(b"["):
        rows, bad = _json_list(data, where)
    else:
        rows, bad = _json_lines(data)
    if not rows and not bad:
        raise InputError(f"{where} holds no rows")
    return rows, bad


def describe_bad(bad: list[BadRow]) -> str:
    """Describe the first ten in full, and count the rest."""
    shown = "; ".join(str(row) for row in bad[:_SHOWN])
    return shown + (f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")


def _parquet(data: bytes, where: str) -> list[Row]:
    try:
        table = read_parquet(data)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{where} is truncated or not a Parquet file: {error}") from None
    return [Row(number, columns) for number, columns in enumerate(table.to_pylist(), start=1)]


def _json_list(data: bytes, where: str) -> tuple[list[Row], list[BadRow]]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from None
    return _objects(enumerate(values, start=1))


def _json_lines(data: bytes) -> tuple[list[Row], list[BadRow]]:
    values: list[tuple[int, Any]] = []
    broken = []
    # Not str.splitlines: that also splits at separators which may stand unescaped inside JSON strings.
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            broken.append(BadRow(number, f"not JSON ({reason})"))
    rows, bad = _objects(values)
    return rows, sorted([*broken, *bad], key=lambda row: row.number)


def _objects(values: Any) -> tuple[list[Row], list[BadRow]]:
    rows, bad = [], []
    for number, value in values:
        if isinstance(value, dict):
            rows.append(Row(number, value))
        else:
            bad.append(BadRow(number, f"not an object but {type(value).__name__}"))
    return rows, bad
