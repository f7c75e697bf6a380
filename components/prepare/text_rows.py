"""Rows of text files: JSON Lines, other JSON, CSV and TSV."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from components.contract.errors import InputError
from components.prepare.contents import base_name, decoded, undecoded
from components.prepare.rows import BadRow, Row

_DELIMITERS = ",\t;|"
_LONGEST_INTEGER = 4300
"""Digits of the longest integer that Python parses."""
_LONGEST_CELL = 2**31 - 1
_SPACE = re.compile(r"\s*")

Rows = tuple[list[Row], list[BadRow]]


class WrittenFloat(float):
    """A number of a JSON file that remembers how it is written: an answer 1.10 stays `1.10`."""

    def __new__(cls, text: str) -> "WrittenFloat":
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def _float(text: str) -> float | str:
    number = WrittenFloat(text)
    return number if math.isfinite(number) else text


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _LONGEST_INTEGER else text


def _constant(text: str) -> str | None:
    return None if text == "NaN" else text


_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_integer, parse_constant=_constant)


def csv_rows(data: bytes, where: str) -> Rows:
    """Rows of a file with a header and commas, or the delimiter that its header contains most; all cells are text.

    Raises:
        InputError: quotes do not close, or two columns have the same name.
    """
    text = decoded(data, where)
    header = text.lstrip().partition("\n")[0]
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count), strict=True)
    rows: list[Row] = []
    bad: list[BadRow] = []
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num}, is not CSV: {error}") from None
    names = [name.strip() for name in lines[0]] if lines else []
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise InputError(f"{where} has two columns {twice!r}; rename one")
    for number, cells in enumerate(lines[1:], start=1):
        if len(cells) != len(names):
            bad.append(BadRow(number, f"has {len(cells)} cells where the header has {len(names)}"))
        elif reason := undecoded("".join(cells)):
            bad.append(BadRow(number, reason))
        else:
            # A column without a name is the index that pandas writes.
            rows.append(Row(number, {name: cell or None for name, cell in zip(names, cells, strict=True) if name}))
    return rows, bad


def json_rows(data: bytes, where: str) -> Rows:
    """Rows of JSON Lines, of a list of objects, of objects one after the other, or of the only list in an object.

    Raises:
        InputError: it begins as a list and is not JSON.
    """
    text = decoded(data, where)
    # Not str.splitlines: that also splits at separators which may stand unescaped inside JSON strings.
    lines = text.split("\n" if "\n" in text else "\r")
    first = next((line for line in lines if line.strip()), "")
    try:
        is_lines = not isinstance(_parsed(first), list)
    except (ValueError, RecursionError):
        is_lines = False
    if is_lines or not first:
        return _lines(lines)
    try:
        return _objects(enumerate(_whole(text), start=1))
    except (ValueError, RecursionError) as error:
        if base_name(where).endswith(".json") and first.lstrip().startswith("["):
            raise InputError(f"{where} is not JSON: {undecoded(text) or error}") from None
        return _lines(lines)


def _parsed(line: str) -> Any:
    if reason := undecoded(line):
        raise UnicodeError(reason)
    # The mark stands inside where files were concatenated.
    return _DECODER.decode(line.strip().lstrip("\ufeff"))


def _lines(lines: list[str]) -> Rows:
    values: list[tuple[int, Any]] = []
    broken = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append((number, _parsed(line)))
        except UnicodeError as error:
            broken.append(BadRow(number, str(error)))
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            broken.append(BadRow(number, f"not JSON ({reason})"))
    rows, bad = _objects(values)
    return rows, sorted([*broken, *bad], key=lambda row: row.number)


def _whole(text: str) -> list[Any]:
    values = list(_sequence(text))
    if len(values) > 1:
        return values
    (value,) = values
    if isinstance(value, list):
        return value
    lists = [inner for inner in value.values() if _is_table(inner)] if isinstance(value, dict) else []
    return lists[0] if len(lists) == 1 and "prompt" not in value else [value]


def _sequence(text: str) -> Iterator[Any]:
    if reason := undecoded(text):
        raise UnicodeError(reason)
    text = text.strip()
    begin = 0
    while begin < len(text):
        value, end = _DECODER.raw_decode(text, begin)
        yield value
        space = _SPACE.match(text, end)
        begin = space.end() if space else end


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _objects(values: Iterable[tuple[int, Any]]) -> Rows:
    rows, bad = [], []
    for number, value in values:
        if isinstance(value, dict):
            rows.append(Row(number, value))
        else:
            bad.append(BadRow(number, f"not an object but {type(value).__name__}"))
    return rows, bad
