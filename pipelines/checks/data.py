"""Whether the prompts can be used, checked by the code that prepare checks them with."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pipelines.checks.findings import Finding, Level
from pipelines.estimates.work import PromptTokens

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.prepare.policy import load_tokenizer
from components.prepare.prompt_tables import DataSet, PromptTables, build_tables, read_data
from components.prepare.prompts import Prompt
from components.prepare.rows import describe_bad
from components.prepare.sources import data_sources, is_generated, is_selection
from pipelines.checks.model import Model

_CHARACTERS = 3.0
"""Of a token, for estimates: GSM8K's texts have 2.9 under a vocabulary of 16,000 tokens made for them."""


@dataclass(frozen=True)
class Data:
    """Attributes:
    train, held_out: lengths of the prompts; None where they cannot be had.
    """

    findings: list[Finding]
    train: PromptTokens | None = None
    held_out: PromptTokens | None = None


def inspect_data(config: RunConfig, model: Model) -> Data:
    """Read and validate every row, and tokenise the prompts where the model's tokenizer is here.

    Without it, lengths are estimated and too long prompts only suspected.
    """
    try:
        if missing := _missing(config):
            return Data(missing)
        sets = read_data(config, data_sources(config))
    except InputError as error:
        return Data([Finding(Level.wrong, "data", str(error))])
    if model.tokenizer is None:
        return _estimated(config, sets)
    try:
        tokenizer = load_tokenizer(model.tokenizer)
        if model.policy:
            model.policy.check_tokenizer(tokenizer)
        tables = build_tables(config, sets, tokenizer)
    except InputError as error:
        return Data([*map(_rows, sets), Finding(Level.wrong, "prompts", str(error))])
    return _counted(config, sets, tables)


def _missing(config: RunConfig) -> list[Finding]:
    sources = {"data.train": config.data.train, "data.eval": config.data.eval if config.data.eval_prompts else None}
    return [
        Finding(Level.wrong, key, f"{path} does not exist", f"put it there, or give another: {key}=PATH")
        for key, path in sources.items()
        if path is not None and _is_local_file(path) and not Path(path).exists()
    ]


def _is_local_file(source: str) -> bool:
    return not is_generated(source) and "://" not in source and not is_selection(source)


def _rows(read: DataSet) -> Finding:
    found = f"{read.source}: {read.rows:,} rows"
    if not read.bad:
        return Finding(Level.ok, read.key, found)
    return Finding(
        Level.warning, read.key, f"{found}, {len(read.bad)} of them bad and left out: {describe_bad(read.bad)}"
    )


def _counted(config: RunConfig, sets: list[DataSet], tables: PromptTables) -> Data:
    findings = [_rows(read) for read in sets]
    unfit = [row for read in sets for row in tables.bad[read.key] if row not in read.bad]
    train, held_out = _lengths(tables.train), _lengths(tables.held_out)
    found = f"{tables.train.num_rows:,} to train on, {tables.held_out.num_rows:,} held out"
    if train:
        found += f"; {train.mean:,.0f} tokens on average, at most {train.longest:,}"
    if unfit:
        findings.append(Finding(Level.warning, "prompts", f"{found}; left out are {describe_bad(unfit)}"))
    else:
        findings.append(Finding(Level.ok, "prompts", found))
    if tables.overlapping:
        held = f"{tables.overlapping} rows of data.train are held-out prompts and left out"
        findings.append(Finding(Level.warning, "held-out prompts", held))
    return Data([*findings, *_epochs(config, tables.train.num_rows)], train, held_out)


def _lengths(table: pa.Table) -> PromptTokens | None:
    lengths = pc.list_value_length(table["prompt_token_ids"])
    return PromptTokens(pc.mean(lengths).as_py(), pc.max(lengths).as_py(), True) if len(lengths) else None


def _estimated(config: RunConfig, sets: list[DataSet]) -> Data:
    findings = [_rows(read) for read in sets]
    lengths = [_guessed(read.prompts, config) for read in sets]
    room = config.model.max_length - max(config.rollout.max_tokens, config.evaluate.max_tokens or 0)
    pool, prompts = len({_text(prompt) for prompt in sets[-1].prompts}), len(sets[0].prompts)
    if pool < config.data.eval_prompts:
        found = f"data.eval_prompts is {config.data.eval_prompts}, and {sets[-1].key} has {pool} different prompts"
        findings.append(Finding(Level.wrong, "prompts", found, "lower data.eval_prompts"))
    elif len(sets) == 1 and prompts <= config.data.eval_prompts:
        findings.append(Finding(Level.wrong, "prompts", f"all {prompts} are held out", "lower data.eval_prompts"))
    found = f"about {lengths[0].mean:,.0f} tokens on average, at most {lengths[0].longest:,}"
    fix = "the tokenizer is not here, so these are characters / 3"
    if lengths[0].longest > room:
        found += f", more than the {room:,} that model.max_length leaves beside the longest completion"
        findings.append(Finding(Level.warning, "prompt lengths", found, fix))
    else:
        findings.append(Finding(Level.ok, "prompt lengths", f"{found} ({fix})"))
    left = prompts if len(sets) > 1 else prompts - config.data.eval_prompts
    return Data([*findings, *_epochs(config, left)], lengths[0], lengths[-1])


def _guessed(prompts: list[Prompt], config: RunConfig) -> PromptTokens:
    extra = len(config.data.system_prompt or "")
    sizes = [(len(_text(prompt)) + extra) / _CHARACTERS for prompt in prompts]
    return PromptTokens(sum(sizes) / len(sizes), round(max(sizes)), False)


def _text(prompt: Prompt) -> str:
    content = prompt.content
    return content if isinstance(content, str) else "\n\n".join(message["content"] for message in content)


def _epochs(config: RunConfig, prompts: int) -> list[Finding]:
    """How often the run goes through its prompts."""
    wanted = config.loop.iterations * config.prompts_per_iteration
    if not wanted or prompts <= 0:
        return []
    found = f"{config.prompts_per_iteration:,} an iteration, {wanted / prompts:.1f} times all {prompts:,} in the run"
    return [Finding(Level.ok, "prompts drawn", found)]
