"""Reading data files, and what of a row is prompt, answer and metadata."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contract.errors import InputError
from components.prepare.formats import parse_rows
from components.prepare.prompts import parse_prompts, repeated_ids
from components.prepare.rows import BadRow, describe_bad

FIXTURES = Path(__file__).parents[2] / "fixtures"


def parse(path: Path, prefix: str = ""):
    rows, unreadable = parse_rows(path.read_bytes(), str(path))
    prompts, malformed = parse_prompts(rows, str(path), prefix)
    return prompts, [*unreadable, *malformed]


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_plain_trl_and_verl_columns_mean_the_same():
    layouts = {name: parse(FIXTURES / f"gsm8k_{name}.jsonl") for name in ("plain", "trl", "verl")}
    assert all(bad == [] for _, bad in layouts.values())
    plain, trl, verl = (prompts for prompts, _ in layouts.values())
    assert (
        [p.content for p in plain] == [p.content[0]["content"] for p in trl] == [p.content[0]["content"] for p in verl]
    )
    assert [p.answer for p in trl] == [p.answer for p in verl]
    assert all(p.answer.endswith(f"#### {q.answer}") for p, q in zip(plain, trl, strict=True))
    assert json.loads(plain[0].metadata) == {}
    assert json.loads(trl[0].metadata) == {"level": "grade school"}
    assert json.loads(verl[0].metadata) == {
        "ability": "math",
        "data_source": "openai/gsm8k",
        "extra_info": {"index": 0, "split": "train"},
        "reward_model": {"style": "rule"},
    }


@pytest.mark.parametrize("layout", ["plain", "trl", "verl"])
@pytest.mark.parametrize("form", ["data.parquet", "no_suffix", "data.json"])
def test_every_file_format_gives_the_same_prompts(tmp_path, layout, form):
    source = FIXTURES / f"gsm8k_{layout}.jsonl"
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    if form == "data.json":
        (tmp_path / form).write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / form)
    assert parse(tmp_path / form) == parse(source)


def test_rows_keep_their_number_and_bad_ones_their_reason(tmp_path):
    path = tmp_path / "data.jsonl"
    good = json.dumps({"prompt": "a\u2028b"}, ensure_ascii=False)
    lines = [
        good,
        "",
        "{broken",
        "[1]",
        '{"prompt": ""}',
        '{"prompt": 3}',
        '{"other": 1}',
        '{"prompt": "\\ud800"}',
        good,
    ]
    path.write_text("\r\n".join(lines))
    prompts, bad = parse(path)
    assert [(p.number, p.prompt_id, p.content) for p in prompts] == [
        (1, "p000001", "a\u2028b"),
        (9, "p000009", "a\u2028b"),
    ]
    assert {row.number: row.reason for row in bad} == {
        3: "not JSON (Expecting property name enclosed in double quotes)",
        4: "not an object but list",
        5: "prompt is empty",
        6: "prompt must be text or a list of messages, not int",
        7: "prompt is missing",
        8: "contains half of a surrogate pair, which is not valid text",
    }


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "prompt is empty"),
        (["hi"], "message 1 is not an object but str"),
        ([{"role": "user"}], "message 1 has no text in content"),
        ([{"content": "hi"}], "message 1 has no text in role"),
        ([{"role": "user", "content": [{"type": "image"}]}], "message 1 has no text in content"),
        ([{"role": "user", "content": " "}], "message 1 is empty"),
        (
            [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
            "the last message is the assistant's, so there is nothing to complete",
        ),
    ],
)
def test_malformed_messages(tmp_path, messages, reason):
    _, bad = parse(write_lines(tmp_path / "data.jsonl", {"prompt": messages}))
    assert bad == [BadRow(1, reason)]


def test_bytes_that_are_no_text_cost_one_row(tmp_path):
    (tmp_path / "data.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": "\xff"}\n')
    prompts, bad = parse(tmp_path / "data.jsonl")
    assert (len(prompts), bad) == (1, [BadRow(2, "not UTF-8 but perhaps Latin-1 (byte 0xff)")])


@pytest.mark.parametrize(
    ("value", "answer"), [("4", "4"), (4, "4"), (0, "0"), (0.5, "0.5"), (["a", "b"], '["a", "b"]'), (None, None)]
)
def test_answers_become_text(tmp_path, value, answer):
    (prompt,), _ = parse(write_lines(tmp_path / "data.jsonl", {"prompt": "a", "answer": value}))
    assert prompt.answer == answer


def test_ids_come_from_a_column_that_every_row_has(tmp_path):
    path = write_lines(
        tmp_path / "data.jsonl", {"prompt": "a", "id": 7, "task_id": "x"}, {"prompt": "b", "task_id": "y"}
    )
    assert [p.prompt_id for p in parse(path)[0]] == ["x", "y"]
    assert [p.prompt_id for p in parse(path, prefix="eval-")[0]] == ["eval-x", "eval-y"]


@pytest.mark.parametrize(
    ("columns", "expected", "remarks"),
    [
        ({"id": ["1", 2, 1]}, ["p000001", "p000002", "p000003"], 1),
        ({"id": ["algebra"] * 3, "task_id": [3, 4, 5]}, ["3", "4", "5"], 0),
        ({"prompt_id": ["a", "b", "c"], "id": [1, 1, 1]}, ["a", "b", "c"], 0),
        ({"unique_id": ["x", "y", "y"], "id": [1, 1, None]}, ["p000001", "p000002", "p000003"], 1),
    ],
)
def test_a_column_that_repeats_is_not_the_prompts_name(tmp_path, columns, expected, remarks):
    rows = [{"prompt": "a", **{name: values[i] for name, values in columns.items()}} for i in range(3)]
    path = write_lines(tmp_path / "data.jsonl", *rows)
    prompts, bad = parse(path)
    assert ([p.prompt_id for p in prompts], bad) == (expected, [])
    found = repeated_ids(parse_rows(path.read_bytes(), str(path))[0])
    assert len(found) == remarks
    assert all("(row 3); prompts go by the numbers of rows" in line for line in found)


def test_no_prompt_column(tmp_path):
    path = write_lines(tmp_path / "data.jsonl", {"query": "a", "answer": 1})
    with pytest.raises(InputError, match="no column 'prompt'; its columns are answer, query"):
        parse(path)


def test_only_ten_bad_rows_are_spelled_out():
    text = describe_bad([BadRow(i, "bad") for i in range(1, 31)])
    assert "row 10: bad; and 20 more" in text
    assert "row 11" not in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"\n\n", "holds no rows"),
        ("cut.parquet", b"PAR1....", "is truncated or not a Parquet file"),
        ("cut.json", b"[{", "is not JSON"),
    ],
)
def test_files_that_cannot_be_used(name, content, message):
    with pytest.raises(InputError, match=message):
        parse_rows(content, name)


def test_a_list_nested_too_deeply_is_refused(tmp_path):
    path = tmp_path / "data.json"
    path.write_text("[" * 5000 + "]" * 5000)
    with pytest.raises(InputError, match=r"data\.json is not JSON: maximum recursion depth exceeded"):
        parse_rows(path.read_bytes(), str(path))


@pytest.mark.parametrize("depth", [900, 980, 990, 5000])
def test_a_column_nested_deeply_is_kept_or_a_bad_row(tmp_path, depth):
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "p", "deep": ' + "[" * depth + "]" * depth + "}")
    prompts, bad = parse(path)
    assert len(prompts) + len(bad) == 1
