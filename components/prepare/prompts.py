"""Prompts, answers and metadata from rows with plain, TRL or verl columns.

| layout | prompt                                   | answer                                       |
|--------|------------------------------------------|----------------------------------------------|
| plain  | `prompt`, text                           | `answer`                                     |
| TRL    | `prompt`, text or messages               | `answer`, `solution` or `ground_truth`       |
| verl   | `prompt`, messages (with `data_source`)  | `reward_model.ground_truth`                  |

Every other column is kept as metadata, which graders get. Rows of data sets with columns of their own are brought
to the plain layout first (`components.prepare.datasets`).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from components.contract.errors import InputError
from components.prepare.datasets import adapter_of
from components.prepare.rows import BadRow, Row
from components.prepare.text_rows import WrittenFloat

Messages = tuple[dict[str, str], ...]

_ANSWERS = ("answer", "solution", "ground_truth")
_EXACT = 2**53
"""Whole numbers from here on are rounded in a float."""
_IDS = ("prompt_id", "id", "unique_id", "task_id")


@dataclass(frozen=True)
class Prompt:
    """One usable row. `content` is text or chat messages, `metadata` a JSON object as text."""

    number: int
    prompt_id: str
    content: str | Messages
    answer: str | None
    metadata: str
    file: str = ""


def question(prompt: Prompt) -> str:
    """Return the content of a prompt as one text, by which equal prompts are known: a user message equals its text."""
    content = prompt.content
    if not isinstance(content, str) and len(content) == 1 and content[0]["role"] == "user":
        return content[0]["content"]
    return content if isinstance(content, str) else json.dumps(content)


def parse_prompts(rows: list[Row], where: str, prefix: str) -> tuple[list[Prompt], list[BadRow]]:
    """Prompts of all usable rows, and the others with the reason.

    A prompt's id is that of the first of the columns `prompt_id`, `id`, `unique_id` and `task_id` that every
    row has and that repeats no value, else `p` and the row's number; `prefix` goes before it.

    Raises:
        InputError: no row has a prompt column.
    """
    rows, bad = _adapted(rows)
    if rows and not any("prompt" in row.columns for row in rows):
        columns = sorted({str(name) for row in rows for name in row.columns})
        raise InputError(
            f"{where} has no column 'prompt'; its columns are {', '.join(columns) or '(none)'}: rename the one that "
            "holds the prompt (rows of GSM8K, MATH, MBPP and MiniF2F are taken as they are)"
        )
    id_column = next((name for name in _id_columns(rows) if _first_repeated(rows, name) is None), None)
    prompts: list[Prompt] = []
    for row in rows:
        own = str(row.columns[id_column]) if id_column else f"p{row.number:06d}"
        try:
            prompts.append(_parse(row, prefix + own))
        except (ValueError, RecursionError) as error:  # columns may be nested too deeply to be written again
            bad.append(BadRow(row.number, str(error), row.file))
    return prompts, bad


def repeated_ids(rows: list[Row]) -> list[str]:
    """Return a remark if prompts go by the numbers of their rows because their own ids repeat."""
    repeated = {name: _first_repeated(rows, name) for name in _id_columns(rows)}
    if not repeated or None in repeated.values():
        return []
    name, row = next(iter(repeated.items()))
    assert row is not None
    value = str(row.columns[name])
    return [
        f"{row.file or 'the'} column {name} repeats {value!r} (row {row.number}); prompts go by the numbers of rows"
    ]


def _id_columns(rows: list[Row]) -> list[str]:
    return [name for name in _IDS if rows and all(_identifies(row.columns.get(name)) for row in rows)]


def _first_repeated(rows: list[Row], column: str) -> Row | None:
    seen: set[str] = set()
    for row in rows:
        value = str(row.columns[column])
        if value in seen:
            return row
        seen.add(value)
    return None


def _adapted(rows: list[Row]) -> tuple[list[Row], list[BadRow]]:
    """Rows of a known data set in the plain layout, all others as they are."""
    kept, bad = [], []
    for row in rows:
        adapter = adapter_of(set(row.columns))
        try:
            kept.append(Row(row.number, adapter.adapt(dict(row.columns)), row.file) if adapter else row)
        except ValueError as error:
            bad.append(BadRow(row.number, str(error), row.file))
    return kept, bad


def _parse(row: Row, prompt_id: str) -> Prompt:
    others = dict(row.columns)
    content = _content(others.pop("prompt", None))
    answer = _answer(others)
    for text in (prompt_id, answer or "", *_texts(content)):
        if not _is_unicode(text):
            raise ValueError("contains half of a surrogate pair, which is not valid text")
    metadata = json.dumps(others, default=_described, sort_keys=True)
    return Prompt(row.number, prompt_id, content, answer, metadata, row.file)


def _content(value: Any) -> str | Messages:
    if value is None:
        raise ValueError("prompt is missing")
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("prompt is empty")
        return value
    if not isinstance(value, list):
        raise ValueError(f"prompt must be text or a list of messages, not {type(value).__name__}")
    if not value:
        raise ValueError("prompt is empty")
    messages = tuple(_message(position, message) for position, message in enumerate(value, start=1))
    if messages[-1]["role"] == "assistant":
        raise ValueError("the last message is the assistant's, so there is nothing to complete")
    return messages


def _message(position: int, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"message {position} is not an object but {type(value).__name__}")
    for key in ("role", "content"):
        if not isinstance(value.get(key), str):
            raise ValueError(f"message {position} has no text in {key}")
    if not value["content"].strip():
        raise ValueError(f"message {position} is empty")
    return {"role": value["role"], "content": value["content"]}


def _answer(others: dict[str, Any]) -> str | None:
    """Take the answer out of the other columns."""
    model = others.get("reward_model")
    if isinstance(model, dict) and "ground_truth" in model:
        others["reward_model"] = {key: value for key, value in model.items() if key != "ground_truth"}
        return _answer_text(model["ground_truth"])
    for name in _ANSWERS:
        if others.get(name) is not None:
            return _answer_text(others.pop(name))
    return None


def _answer_text(value: Any) -> str | None:
    """Return an answer as it is written; a whole number of a column of floats, as pandas makes them, without `.0`."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, WrittenFloat):
        return value.text
    if isinstance(value, bytes):
        raise ValueError("the answer is bytes, not text")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return json.dumps(value, default=_described)


def _described(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


def _identifies(value: Any) -> bool:
    return (isinstance(value, str) and bool(value)) or (isinstance(value, int) and not isinstance(value, bool))


def _texts(content: str | Messages) -> Iterable[str]:
    return (content,) if isinstance(content, str) else (text for message in content for text in message.values())


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
