"""Files of prompts as people have them: compressed, from spreadsheets, from Windows, from pandas and from the hub."""

import bz2
import datetime
import decimal
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contract.errors import InputError
from components.prepare.formats import parse_rows
from components.prepare.prompts import parse_prompts
from components.prepare.rows import BadRow

ROWS = [{"prompt": "naïve?", "answer": "1"}, {"prompt": '2, "quoted"\nand more', "answer": "½"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
CSV = 'prompt,answer\nnaïve?,1\n"2, ""quoted""\nand more",½\n'
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zstandard(data: bytes, codec: str = "zstd") -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def arrow(table: pa.Table, create=pa.ipc.new_stream) -> bytes:
    sink = pa.BufferOutputStream()
    with create(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def prompts_of(data: bytes, name: str):
    rows, unreadable = parse_rows(data, name)
    prompts, bad = parse_prompts(rows, name, "")
    return prompts, [*unreadable, *bad]


TEXTS = {
    "plain.jsonl": LINES.encode(),
    "mark.jsonl": LINES.encode("utf-8-sig"),
    "crlf.jsonl": LINES.replace("\n", "\r\n").encode(),
    "crlf_and_mark.ndjson": LINES.replace("\n", "\r\n").encode("utf-8-sig"),
    "old_mac.jsonl": LINES.replace("\n", "\r").encode(),
    "windows.jsonl": LINES.encode("utf-16"),
    "without_mark.jsonl": LINES.encode("utf-16-le"),
    "utf32.json": LINES.encode("utf-32"),
    "marks_inside.jsonl": "".join("\ufeff" + line + "\n" for line in LINES.splitlines()).encode(),
    "no_end.jsonl": LINES.strip().encode(),
    "list.json": json.dumps(ROWS).encode("utf-8-sig"),
    "list.jsonl": json.dumps(ROWS, indent=2).replace("\n", "\r\n").encode(),
    "list_without_suffix": json.dumps(ROWS).encode(),
    "pretty.json": "\n".join(json.dumps(row, indent=1) for row in ROWS).encode(),
    "one_after_the_other.json": "".join(json.dumps(row) for row in ROWS).encode(),
    "inside.json": json.dumps({"version": "1.1", "data": ROWS}, indent=1).encode(),
    "comma.csv": CSV.encode(),
    "mark.csv": CSV.encode("utf-8-sig"),
    "crlf.csv": CSV.replace(",1\n", ",1\r\n").replace("½\n", "½\r\n").encode("utf-8-sig"),
    "semicolon.csv": 'prompt;answer\nnaïve?;1\n"2, ""quoted""\nand more";½\n'.encode(),
    "tab.tsv": 'prompt\tanswer\nnaïve?\t1\n"2, ""quoted""\nand more"\t½\n'.encode("utf-16"),
    "pandas.csv": CSV.replace("prompt", ",prompt").replace("naïve", "0,naïve").replace('"2,', '1,"2,').encode(),
    "UPPER.CSV": CSV.encode(),
    "plain.parquet": parquet(pa.Table.from_pylist(ROWS)),
    "stream.arrow": arrow(pa.Table.from_pylist(ROWS)),
    "file.arrow": arrow(pa.Table.from_pylist(ROWS), pa.ipc.new_file),
    "no_suffix": arrow(pa.Table.from_pylist(ROWS)),
}
COMPRESSIONS = {
    ".gz": gzipped,
    ".zst": zstandard,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lz4": lambda data: zstandard(data, "lz4"),
    "": gzipped,
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_is_read_as_people_mean_it(name):
    prompts, bad = prompts_of(TEXTS[name], name)
    assert bad == []
    assert [(p.content, p.answer) for p in prompts] == [(row["prompt"], row["answer"]) for row in ROWS]
    assert {p.metadata for p in prompts} == {"{}"}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("name", ["crlf_and_mark.ndjson", "crlf.csv", "plain.parquet", "stream.arrow"])
def test_compression_changes_nothing(name, suffix):
    assert prompts_of(COMPRESSIONS[suffix](TEXTS[name]), name + suffix) == prompts_of(TEXTS[name], name)


def test_parts_that_were_compressed_one_by_one_are_all_read():
    data = b"".join(gzipped(line.encode() + b"\n") for line in LINES.splitlines())
    assert prompts_of(data, "parts.jsonl.gz") == prompts_of(TEXTS["plain.jsonl"], "plain.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", POINTER, r"a\.jsonl is a Git LFS pointer for 12,345 bytes, not the file itself; .* git lfs pull"),
        ("a.parquet", POINTER.replace(b"\n", b"\r\n"), "is a Git LFS pointer"),
        ("a.csv", b"/annex/objects/SHA256E-s12--ab.csv\n", "is a git-annex pointer"),
        ("a.jsonl.gz", gzipped(b"x" * 999)[:-9], r"a\.jsonl\.gz cannot be decompressed \(gzip\)"),
        ("a.jsonl.xz", lzma.compress(b"x" * 999)[:-9], r"cannot be decompressed \(xz\)"),
        ("a.zst", zstandard(b"x" * 999)[:-3], r"cannot be decompressed \(zstd\)"),
        ("a.xlsx", b"PK\x03\x04....", "is a ZIP archive or an Excel workbook; unpack it, or save"),
        ("a.tar.gz", gzipped(bytes(257) + b"ustar" + bytes(250)), "is a tar archive; unpack it"),
        ("a.db", b"SQLite format 3\x00...", "is an SQLite database; save its rows"),
        ("a.pkl", b"\x80\x05\x95...", "is a Python pickle, which is never loaded"),
        ("a.jsonl", b"\n<!DOCTYPE html>\n<html>", "is an HTML page, as a server sends it instead of a file"),
        ("a.avro", b"Obj\x01...", "is an Avro file"),
        ("a.jsonl", "é".encode("utf-16") + b"\x00", "is UTF-16 that is damaged"),
        ("a.arrow", b"\xff\xff\xff\xff\x10\x00\x00\x00", "is truncated or not an Arrow file"),
        ("a.csv", b'prompt,answer\n"never closed,1\n', r"a\.csv, line 2, is not CSV: unexpected end of data"),
        ("a.csv", b"prompt,answer,prompt\nx,1,y\n", "has two columns 'prompt'; rename one"),
        ("a.json", '[{"prompt": "é"}]'.encode("latin-1"), r"a\.json is not JSON: not UTF-8 but perhaps Latin-1"),
        ("a.csv", b"prompt,answer\n", "holds no rows"),
        ("a.jsonl.gz", gzipped(b""), "holds no rows"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_called_what_it_is(name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_rows(content, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz"])
def test_latin_1_costs_the_rows_that_have_it(name):
    text = CSV if name.endswith("csv") else LINES
    data = text.replace("½", "x").encode("latin-1")
    prompts, bad = prompts_of(gzipped(data) if name.endswith("gz") else data, name)
    assert bad == [BadRow(1, "not UTF-8 but perhaps Latin-1 (byte 0xef)")]
    assert [p.content for p in prompts] == [ROWS[1]["prompt"]]


def test_a_line_of_csv_with_too_few_cells_is_a_bad_row():
    prompts, bad = prompts_of(b"prompt,answer,level\na,1,\n\nb,2\nc,,3\n", "a.csv")
    assert [(p.number, p.content, p.answer) for p in prompts] == [(1, "a", "1"), (3, "c", None)]
    assert [json.loads(p.metadata)["level"] for p in prompts] == [None, "3"]
    assert bad == [BadRow(2, "has 2 cells where the header has 3")]


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("1.10", "1.10"),
        ("1e400", "1e400"),
        ("12345678901234567890", "12345678901234567890"),
        ("0.10000000000000000000001", "0.10000000000000000000001"),
        ("9" * 5000, "9" * 5000),
        ("NaN", None),
        ("-Infinity", "-Infinity"),
        ("true", "true"),
        ("-0.0", "-0.0"),
    ],
)
def test_numbers_of_json_stay_as_they_are_written(written, answer):
    (prompt,), bad = prompts_of(f'{{"prompt": "p", "answer": {written}, "other": {written}}}'.encode(), "a.jsonl")
    assert (prompt.answer, bad) == (answer, [])
    json.loads(prompt.metadata, parse_constant=pytest.fail)


def column(values, kind):
    return pa.table({"prompt": ["p"] * len(values), "answer": pa.array(values, kind)})


@pytest.mark.parametrize("write", [parquet, arrow])
@pytest.mark.parametrize(
    ("kind", "value", "answer"),
    [
        (pa.decimal128(10, 4), decimal.Decimal("3.1400"), "3.1400"),
        (pa.decimal256(50, 0), decimal.Decimal(10**40), "1" + "0" * 40),
        (pa.date32(), 2932897, "10000-01-01"),
        (pa.date32(), datetime.date(2024, 2, 29), "2024-02-29"),
        (pa.date64(), datetime.date(2024, 2, 29), "2024-02-29"),
        (pa.timestamp("s"), 253402300800, "10000-01-01 00:00:00"),
        (pa.timestamp("us"), datetime.datetime(1999, 12, 31, 23, 59), "1999-12-31 23:59:00.000000"),
        (pa.timestamp("ns"), 1, "1970-01-01 00:00:00.000000001"),
        (pa.time64("us"), datetime.time(12, 30), "12:30:00.000000"),
        (pa.duration("ns"), 7, "7"),
        (pa.float64(), 42.0, "42"),
        (pa.float64(), float("nan"), None),
        (pa.float64(), float("inf"), "inf"),
        (pa.float32(), 0.5, "0.5"),
        (pa.uint64(), 2**64 - 1, str(2**64 - 1)),
        (pa.int64(), -(2**63), str(-(2**63))),
        (pa.binary(), "½".encode(), "½"),
        (pa.large_string(), "x", "x"),
        (pa.dictionary(pa.int8(), pa.string()), "x", "x"),
        (pa.list_(pa.decimal128(3, 1)), [decimal.Decimal("1.5")], '["1.5"]'),
        (pa.struct({"when": pa.timestamp("us")}), {"when": None}, '{"when": null}'),
        (pa.null(), None, None),
    ],
)  # fmt: skip
def test_values_of_tables_become_text(write, kind, value, answer):
    if write is parquet and kind in (pa.duration("ns"), pa.timestamp("s"), pa.date64()):
        pytest.skip("Parquet has no such type")
    (prompt, _), bad = prompts_of(write(column([value, None], kind)), "a")
    assert (prompt.answer, bad) == (answer, [])


def test_nested_columns_become_json():
    kind = pa.struct({"days": pa.list_(pa.date32()), "prices": pa.map_(pa.string(), pa.decimal128(5, 2))})
    value = {"days": [2932897, None], "prices": [("EUR", decimal.Decimal("1.50"))]}
    table = pa.table({"prompt": ["p"], "info": pa.array([value], kind), "image": [b"\xff\xd8\xff"]})
    (prompt,), _ = prompts_of(parquet(table), "a.parquet")
    info = {"days": ["10000-01-01", None], "prices": {"EUR": "1.50"}}
    assert json.loads(prompt.metadata) == {"info": info, "image": "<3 bytes>"}


def test_a_value_that_cannot_be_read_costs_its_row():
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xe9")]
    )
    prompts, bad = prompts_of(arrow(pa.table({"prompt": broken})), "a.arrow")
    assert [p.content for p in prompts] == ["a"]
    assert bad == [BadRow(2, "not UTF-8 (byte 0xe9)")]
    _, bad = prompts_of(arrow(pa.table({"prompt": ["p"], "answer": [b"\xff"]})), "a.arrow")
    assert bad == [BadRow(1, "the answer is bytes, not text")]


def test_a_table_with_a_column_twice_is_refused():
    table = pa.table([["a"], ["b"]], names=["prompt", "prompt"])
    with pytest.raises(InputError, match="has two columns 'prompt'"):
        parse_rows(arrow(table), "a.arrow")
