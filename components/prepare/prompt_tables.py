"""The prompt tables of a run, from its data files and tokenizer."""

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from components.contract.config import RunConfig
from components.contract.digests import derive_seed, json_digest
from components.contract.errors import InputError
from components.contract.manifest import Facts
from components.contract.schemas import PROMPTS, validate, with_metadata
from components.prepare.formats import parse_rows
from components.prepare.generated_rows import generate_rows
from components.prepare.prompts import Prompt, parse_prompts, question, repeated_ids
from components.prepare.references import unfit_references
from components.prepare.rows import BadRow, Row, describe_bad
from components.prepare.sources import DataSource, generator_seed
from components.prepare.tokens import RenderedPrompt, Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Prompts = list[RenderedPrompt]


@dataclass(frozen=True)
class PromptTables:
    """Tables of the schema `PROMPTS`, `held_out` perhaps without rows, and what was left out of them."""

    train: pa.Table
    held_out: pa.Table
    bad: dict[str, list[BadRow]]
    """Bad rows by configuration key: `data.train`, `data.eval`."""
    overlapping: int
    """Rows of data.train that are held-out prompts."""
    remarks: list[str]
    """Lines on what a person may not expect."""
    date: str | None
    """The day that the chat template writes, if it writes one."""
    undated_digest: str | None
    """Digest of the held-out prompts without that day, by which scores of different days are comparable."""

    def facts(self) -> Facts:
        lengths = [len(ids) for table in (self.train, self.held_out) for ids in table["prompt_token_ids"].to_pylist()]
        return {
            "train_prompts": self.train.num_rows,
            "eval_prompts": self.held_out.num_rows,
            "bad_rows": sum(map(len, self.bad.values())),
            "overlapping_rows": self.overlapping,
            "longest_prompt_tokens": max(lengths),
            **({"date": self.date, "held_out_digest": self.undated_digest} if self.date else {}),
        }

    def bad_rows_json(self) -> bytes:
        """Every bad row as a line of JSON; `file` is the configuration key, or the name where there are several."""
        return b"".join(
            json.dumps({"file": row.file or key, "row": row.number, "reason": row.reason}).encode() + b"\n"
            for key, rows in self.bad.items()
            for row in rows
        )


@dataclass(frozen=True)
class DataSet:
    """The prompts and bad rows of one data source."""

    key: str
    source: str
    rows: int
    prompts: list[Prompt]
    bad: list[BadRow]
    remarks: list[str] = field(default_factory=list)

    def extended(self, rows: list[Row], unreadable: list[BadRow], where: str, prefix: str) -> "DataSet":
        """Add the rows of one more file, whose prompts' ids begin with `prefix`."""
        prompts, malformed = parse_prompts(rows, where, prefix)
        bad = sorted([*self.bad, *unreadable, *malformed], key=lambda row: row.place)
        return replace(
            self,
            rows=self.rows + len(rows) + len(unreadable),
            prompts=[*self.prompts, *prompts],
            bad=bad,
            remarks=[*self.remarks, *repeated_ids(rows)],
        )


def read_data(config: RunConfig, sources: list[DataSource]) -> list[DataSet]:
    """Training prompts, and held-out prompts where they have a source of their own.

    Raises:
        InputError: a file cannot be used, or more of its rows are malformed than `data.max_bad_share`.
    """
    if config.data.options and not any(source.is_generated for source in sources):
        raise InputError("data.options are those of a generator (reasoning_gym:<name>), and the data are files")
    sets = [_read(config, source) for source in sources]
    for found in sets:
        _check_share(found, found.bad, config.data.max_bad_share)
        found.remarks.extend(unfit_references(config.reward, found.prompts))
    return sets


def build_tables(
    config: RunConfig, sets: list[DataSet], tokenizer: "PreTrainedTokenizerBase", vocab_size: int | None = None
) -> PromptTables:
    """Render, tokenise and split what was read.

    Args:
        vocab_size: number of token ids with an embedding; None: not known.

    Raises:
        InputError: more rows are bad than `data.max_bad_share`, or too few prompts remain.
    """
    longest_completion = max(config.rollout.max_tokens, config.evaluate.max_tokens or 0)
    renderer = Renderer(tokenizer, config.data, config.model.max_length - longest_completion, vocab_size)
    usable: list[Prompts] = []
    bad: dict[str, list[BadRow]] = {}
    for found in sets:
        rendered, unfit = renderer.render(found.prompts)
        bad[found.key] = sorted([*found.bad, *unfit], key=lambda row: row.place)
        _check_share(found, bad[found.key], config.data.max_bad_share)
        usable.append(rendered)
    train, from_file = usable[0], usable[1] if len(usable) > 1 else None
    kept, held_out = hold_out(train, from_file, config.data.eval_prompts, config.run.seed)
    overlapping = len(train) - len(kept) - (len(held_out) if from_file is None else 0)
    date = renderer.date if renderer.writes_date else None
    undated = _undated_digest(renderer, held_out) if date else None
    train_table, held_out_table = _table(kept, "train", config), _table(held_out, "eval", config)
    _check_solutions(config, train_table)
    remarks = [*renderer.remarks, *_unguided(config, train_table.num_rows)]
    return PromptTables(train_table, held_out_table, bad, overlapping, remarks, date, undated)


def _unguided(config: RunConfig, prompts: int) -> list[str]:
    """Remark that nothing will be guided: a run's own completions serve from its second pass over the prompts on."""
    guide = config.rollout.guide
    if guide is None or guide.column is not None or config.data.replay:
        return []
    drawn = min(guide.iterations, config.loop.iterations) * config.prompts_per_iteration
    if drawn > prompts:
        return []
    return [
        f"rollout.guide guides nothing: while it gives a part, {drawn:,} of the {prompts:,} prompts are drawn, none of "
        "them twice; set rollout.guide.column or data.replay"
    ]


def _check_solutions(config: RunConfig, train: pa.Table) -> None:
    """Refuse a column of solutions that no training prompt has. Raises InputError."""
    column = config.rollout.guide.column if config.rollout.guide else None
    if column is None or (column == "answer" and train["answer"].null_count < train.num_rows):
        return
    others = [json.loads(text) for text in train["metadata"].to_pylist()]
    if not any(isinstance(row.get(column), str) for row in others):
        texts = sorted({name for row in others for name, value in row.items() if isinstance(value, str)})
        known = ", ".join(["answer", *texts])
        raise InputError(
            f"rollout.guide.column: no training prompt has text in a column {column!r}; use one of {known}"
        )


def _undated_digest(renderer: Renderer, prompts: Prompts) -> str:
    sources = (prompt.source for prompt in prompts)
    return json_digest(sorted(json.dumps([renderer.undated_text(p), p.answer, p.metadata]) for p in sources))


def _read(config: RunConfig, source: DataSource) -> DataSet:
    prefix = "eval-" if source.key == "data.eval" else ""
    read = DataSet(source.key, source.text, 0, [], [])
    if source.is_generated:
        seed = generator_seed(config.run.seed, source.key)
        rows, unreadable = generate_rows(source.text, config.data.options, seed, source.key)
        return read.extended(rows, unreadable, source.text, prefix)
    if len(source.files) == 1:
        (file,) = source.files
        return read.extended(*parse_rows(file.data, file.uri), file.uri, prefix)
    for number, file in enumerate(source.files):
        rows, unreadable = parse_rows(file.data, file.uri)
        rows = [replace(row, file=file.uri) for row in rows]
        unreadable = [replace(row, file=file.uri) for row in unreadable]
        # Several files may use the same identifiers, each for its own rows.
        read = read.extended(rows, unreadable, file.uri, f"{prefix}f{number:03d}-")
    return read


def _check_share(found: DataSet, bad: list[BadRow], max_bad_share: float) -> None:
    if len(bad) > max_bad_share * found.rows or len(bad) == found.rows:
        raise InputError(
            f"{found.key}: {len(bad)} of {found.rows} rows of {found.source} are bad ({len(bad) / found.rows:.1%}, "
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


def hold_out(train: Prompts, held_out: Prompts | None, count: int, seed: int) -> tuple[Prompts, Prompts]:
    """Training and held-out prompts, no question in both.

    Args:
        held_out: prompts of a file of their own; None splits them off from `train`.
        count: held-out prompts that are kept. Which ones depends on `seed` and their content in the data, not on their
            place, and not on the rendered text, into which a chat template may write today's date.

    Raises:
        InputError: fewer held-out prompts than wanted, or none left to train on.
    """
    pool = _distinct(train if held_out is None else held_out)
    if count > len(pool):
        source = "data.train has" if held_out is None else "data.eval has"
        raise InputError(
            f"data.eval_prompts is {count}, but {source} only {len(pool)} distinct usable prompts; lower it"
        )
    chosen = set(sorted(pool, key=lambda content: derive_seed(seed, "held out", content))[:count])
    evaluation = [prompt for content, prompt in pool.items() if content in chosen]
    training = [prompt for prompt in train if question(prompt.source) not in chosen]
    if not training:
        raise InputError(f"no prompt is left to train on: all {len(train)} are held out (data.eval_prompts is {count})")
    return training, evaluation


def _distinct(prompts: Prompts) -> dict[str, RenderedPrompt]:
    """Return the first prompt with each question, in order."""
    found: dict[str, RenderedPrompt] = {}
    for prompt in prompts:
        found.setdefault(question(prompt.source), prompt)
    return found
