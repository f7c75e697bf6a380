"""The prompt tables of a run, from its data files and tokenizer."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.schemas import PROMPTS, validate, with_metadata
from components.prepare.generated import generate_rows
from components.prepare.prompts import Prompt, parse_prompts
from components.prepare.rows import BadRow, describe_bad, read_rows
from components.prepare.sources import generator_seed, is_generated
from components.prepare.split import Prompts, hold_out
from components.prepare.tokens import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PromptTables:
    """Tables of the schema `PROMPTS`, `held_out` perhaps without rows, and what was left out of them."""

    train: pa.Table
    held_out: pa.Table
    bad: dict[str, list[BadRow]]
    """Bad rows by configuration key: `data.train`, `data.eval`."""
    overlapping: int
    """Rows of data.train with the text of a held-out prompt."""

    def facts(self) -> dict[str, str | int | float | bool | None]:
        lengths = [len(ids) for table in (self.train, self.held_out) for ids in table["prompt_token_ids"].to_pylist()]
        return {
            "train_prompts": self.train.num_rows,
            "eval_prompts": self.held_out.num_rows,
            "bad_rows": sum(map(len, self.bad.values())),
            "overlapping_rows": self.overlapping,
            "longest_prompt_tokens": max(lengths),
        }

    def bad_rows_json(self) -> bytes:
        """Every bad row as a line of JSON."""
        return b"".join(
            json.dumps({"file": key, "row": row.number, "reason": row.reason}).encode() + b"\n"
            for key, rows in self.bad.items()
            for row in rows
        )


@dataclass(frozen=True)
class DataFile:
    """What has been read of one data file, or has been generated."""

    key: str
    source: str
    rows: int
    prompts: list[Prompt]
    bad: list[BadRow]


def read_data(config: RunConfig) -> list[DataFile]:
    """The training file, and that of held-out prompts where there is one and it is used.

    Raises:
        InputError: a file cannot be used, or more of its rows are malformed than `data.max_bad_share`.
    """
    data = config.data
    if data.options and not any(map(is_generated, filter(None, (data.train, data.eval)))):
        raise InputError("data.options are those of a generator (reasoning_gym:<name>), and the data are files")
    files = [_read(config, data.train, "", "data.train")]
    if data.eval is not None and data.eval_prompts:
        files.append(_read(config, data.eval, "eval-", "data.eval"))
    for file in files:
        _check_share(file, file.bad, data.max_bad_share)
    return files


def build_tables(config: RunConfig, files: list[DataFile], tokenizer: "PreTrainedTokenizerBase") -> PromptTables:
    """Render, tokenise and split what was read.

    Raises:
        InputError: more rows are bad than `data.max_bad_share`, or too few prompts remain.
    """
    longest_completion = max(config.rollout.max_tokens, config.evaluate.max_tokens or 0)
    renderer = Renderer(tokenizer, config.data, config.model.max_length - longest_completion)
    usable: list[Prompts] = []
    bad: dict[str, list[BadRow]] = {}
    for file in files:
        rendered, unfit = renderer.render(file.prompts)
        bad[file.key] = sorted([*file.bad, *unfit], key=lambda row: row.number)
        _check_share(file, bad[file.key], config.data.max_bad_share)
        usable.append(rendered)
    train, from_file = usable[0], usable[1] if len(usable) > 1 else None
    kept, held_out = hold_out(train, from_file, config.data.eval_prompts, config.run.seed)
    overlapping = len(train) - len(kept) - (len(held_out) if from_file is None else 0)
    return PromptTables(_table(kept, "train", config), _table(held_out, "eval", config), bad, overlapping)


def encode(table: pa.Table) -> bytes:
    """The table as zstd Parquet; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _read(config: RunConfig, source: str, prefix: str, key: str) -> DataFile:
    if is_generated(source):
        rows, unreadable = generate_rows(source, config.data.options, generator_seed(config.run.seed, key), key)
    else:
        rows, unreadable = read_rows(Path(source))
    prompts, malformed = parse_prompts(rows, Path(source), prefix)
    bad = sorted([*unreadable, *malformed], key=lambda row: row.number)
    return DataFile(key, source, len(rows) + len(unreadable), prompts, bad)


def _check_share(file: DataFile, bad: list[BadRow], max_bad_share: float) -> None:
    if len(bad) > max_bad_share * file.rows or len(bad) == file.rows:
        raise InputError(
            f"{file.key}: {len(bad)} of {file.rows} rows of {file.source} are bad ({len(bad) / file.rows:.1%}, "
            f"data.max_bad_share is {max_bad_share:.1%}): {describe_bad(bad)}"
        )


def _table(prompts: Prompts, split: str, config: RunConfig) -> pa.Table:
    columns = {
        "prompt_id": [p.source.prompt_id for p in prompts],
        "split": [split] * len(prompts),
        "prompt": [p.text for p in prompts],
        "prompt_token_ids": [p.token_ids for p in prompts],
        "answer": [p.source.answer for p in prompts],
        "metadata": [p.source.metadata for p in prompts],
    }
    table = pa.table(columns, schema=with_metadata(PROMPTS, {"run": config.run.name, "split": split}))
    validate(table, "prompts", f"the {split} prompts")
    return table
