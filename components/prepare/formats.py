"""The formats of prompt files."""

from components.contract.errors import InputError
from components.prepare.arrow_rows import arrow_rows, is_arrow, parquet_rows
from components.prepare.contents import base_name, unpacked
from components.prepare.rows import BadRow, Row
from components.prepare.text_rows import csv_rows, json_rows


def parse_rows(data: bytes, where: str) -> tuple[list[Row], list[BadRow]]:
    """Rows of a file that are objects, and those that are not.

    The file's first bytes say whether it is Parquet, Arrow or compressed; the suffixes .csv and .tsv that it is CSV;
    anything else is JSON.

    Raises:
        InputError: no rows at all, or a file that is damaged as a whole or of another kind; `where` names it.
    """
    data, name = unpacked(data, where), base_name(where)
    if data.startswith(b"PAR1") or name.endswith(".parquet"):
        rows, bad = parquet_rows(data, where)
    elif is_arrow(data) or name.endswith((".arrow", ".feather")):
        rows, bad = arrow_rows(data, where)
    elif name.endswith((".csv", ".tsv")):
        rows, bad = csv_rows(data, where)
    else:
        rows, bad = json_rows(data, where)
    if not rows and not bad:
        raise InputError(f"{where} holds no rows")
    return rows, bad
