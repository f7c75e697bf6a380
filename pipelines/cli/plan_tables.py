"""The findings of a preflight and the estimates of a dry run as tables."""

import shlex

import typer
from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table

from components.contract.errors import EXIT_BAD_INPUT
from components.contract.printable import printable
from pipelines.cli.output import say, script
from pipelines.estimates.memory_estimate import micro_batch_tokens
from pipelines.estimates.storage_estimate import trajectory_bytes
from pipelines.plan import Plan
from pipelines.preflight.findings import Finding, Level, errors_of
from pipelines.text import amount, size

_GPUS = (24, 48, 80)
"""Memory of common GPUs, GiB."""

_STYLES = {Level.ok: "green", Level.warning: "yellow", Level.error: "red"}


def findings_table(findings: list[Finding]) -> Table:
    """Return a row per finding: level, subject, what was found and how to fix it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("checked", no_wrap=True)
    table.add_column("found")
    for finding in findings:
        table.add_row(
            f"[{_STYLES[finding.level]}]{finding.level.value}[/]",
            escape(finding.subject),
            escape(printable(finding.text)),
        )
    return table


def print_findings(findings: list[Finding], console: Console) -> None:
    """Print findings. Raises typer.Exit with status 2 if there are errors."""
    console.print(findings_table(findings))
    if errors_of(findings):
        raise typer.Exit(EXIT_BAD_INPUT)


def print_plan(plan: Plan, command: list[str], console: Console) -> None:
    """Print the findings, the available estimates, and what to do next.

    Args:
        command: the words after `rapid` that start the run.
    """
    _section(console, "Checks", findings_table(plan.findings))
    if plan.shape is not None:
        _section(console, "Model", _model(plan))
    _section(console, "Work", _work(plan))
    if plan.engine is not None:
        _section(console, "Memory of the rollout engine", _engine(plan))
    if plan.training is not None:
        _section(console, "Memory of a training process", _training(plan))
    if plan.storage is not None:
        _section(console, "Storage", _storage(plan))
    console.print()
    if errors := errors_of(plan.findings):
        say(console, f"{_count(len(errors), 'error')}: the run could not start; nothing was started or written")
    else:
        say(console, f"nothing was started or written; start the run with: {shlex.join([script('rapid'), *command])}")


def _section(console: Console, title: str, table: Table) -> None:
    console.print()
    console.print(Rule(title, align="left", style="dim"))
    console.print(table)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=any(headings))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if 0 < place < 3 else "left", no_wrap=place < 3)
    return table


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _model(plan: Plan) -> Table:
    shape = plan.shape
    assert shape is not None
    table = _table("", "", "", "")
    lora = plan.config.train.lora
    trained = f"{shape.adapter_parameters(lora):,} adapter parameters are trained" if lora else "all are trained"
    table.add_row("parameters", f"{shape.parameters:,}", "", trained)
    table.add_row("layers", f"{shape.layers}", "", f"hidden size {shape.width:,}, MLP {shape.intermediate:,}")
    table.add_row(
        "attention heads", f"{shape.heads}", "", f"{shape.kv_heads} for keys and values, head size {shape.head_width}"
    )
    if shape.windowed_layers:
        table.add_row(
            "windowed layers", f"{shape.windowed_layers}", "", f"attend to the last {shape.window:,} tokens only"
        )
    table.add_row("vocabulary", f"{shape.vocabulary:,}", "", "output head tied to the embedding" if shape.tied else "")
    return table


def _work(plan: Plan) -> Table:
    work, config = plan.work, plan.config
    table = _table("", "per iteration", _count(work.iterations, "iteration"), "")
    one, run = work.iteration, work.run
    every = config.evaluate.every
    rarely = f", in every {every}. iteration" if every > 1 else ""
    held = f"{amount(work.held_out.prompts)} of them held out{rarely}" if work.held_out.prompts else ""
    table.add_row("prompts", amount(one.prompts), amount(run.prompts), held)
    group = f"{config.rollout.group_size} per prompt, {config.evaluate.samples} per held-out prompt"
    table.add_row("completions", amount(one.completions), amount(run.completions), group)
    known = "each prompt counted once" if one.prompt_tokens is not None else "the prompts are not known"
    table.add_row("prompt tokens", amount(one.prompt_tokens), amount(run.prompt_tokens), known)
    longest = f"if all reach rollout.max_tokens ({config.rollout.max_tokens:,})"
    table.add_row("completion tokens, at most", amount(one.most_tokens), amount(run.most_tokens), longest)
    if work.tokens_per_completion is not None:
        so_far = f"at {work.tokens_per_completion:,.1f} per completion, the mean so far"
        expected = [amount(work.expected_tokens(sampled)) for sampled in (one, run)]
        table.add_row("completion tokens, expected", *expected, so_far)
    mini_batch = f"of {config.train.mini_batch_prompts} prompts, {work.sequences // work.steps} completions each"
    table.add_row("updates", amount(work.steps), amount(work.steps * work.iterations), mini_batch)
    return table


def _engine(plan: Plan) -> Table:
    engine, config = plan.engine, plan.config
    assert engine is not None
    settings = config.rollout.engine
    table = _table("", "", "", "")
    parallel = f", one of {settings.tensor_parallel_size} GPUs" if settings.tensor_parallel_size > 1 else ""
    table.add_row("weights", size(engine.weights), "", config.model.dtype + parallel)
    length = f"of {config.model.max_length:,} tokens, prompt and completion"
    table.add_row("cache, one sequence", size(engine.sequence), "", length)
    together = f"{engine.sequences} sequences at full length (rollout.engine.max_num_seqs)"
    table.add_row("cache, all sequences", size(engine.cache), "", together)
    if not plan.on_gpu:
        cache = settings.cpu_kv_cache_gib
        fit = engine.sequences_within(cache * 2**30)
        table.add_row("sequences that fit", f"{min(fit, engine.sequences):,}", "", f"cpu_kv_cache_gib is {cache}")
    for card in _GPUS if plan.on_gpu else ():
        usable = card * 2**30 * settings.gpu_memory_utilization
        fit = min(engine.sequences_within(usable - engine.weights), engine.sequences)
        full = f"on a GPU of {card} GiB, {settings.gpu_memory_utilization:.0%} of it used, without activations"
        table.add_row("sequences that fit" if card == _GPUS[0] else "", f"{fit:,}", "", full)
    return table


def _training(plan: Plan) -> Table:
    memory, train = plan.training, plan.config.train
    assert memory is not None
    table = _table("", "", "", "")
    parts = train.processes * train.nodes
    processes = f", one of {parts} shards (FSDP)" if parts > 1 else ""
    frozen = f"frozen in {train.compute_dtype}, adapters in float32" if train.lora else "master copy in float32"
    micro_batch = f"of {micro_batch_tokens(plan.config):,} tokens (train.micro_batch_tokens, at least one sequence)"
    rows = (
        ("weights", memory.weights, frozen + processes),
        ("gradients", memory.gradients, "float32" + processes),
        ("AdamW moments", memory.moments, "two, float32" + processes),
        ("gathered by FSDP", memory.gathered, "embeddings and two layers"),
        ("compute copy of weights", memory.copies, train.compute_dtype),
        ("activations", memory.activations, micro_batch),
        ("logits and head", memory.head, "logits of a chunk (train.logprob_chunk), gradient of the head"),
        ("total", memory.total, "without allocator and kernels: measured peaks on the CPU were 1.2 to 1.5 times this"),
    )
    for name, count, note in rows:
        if count:
            table.add_row(name, size(count), "", note)
    if plan.guide:
        table.add_row("guide, before the updates", size(plan.guide), "", "while none of the above is in memory")
    return table


def _storage(plan: Plan) -> Table:
    storage, work = plan.storage, plan.work
    assert storage is not None
    table = _table("", "per iteration", _count(storage.iterations, "iteration"), "")
    evaluation = "at most, with the final evaluation"
    one = storage.training + storage.held_out
    table.add_row("trajectories and rewards", size(one), size(storage.trajectories), evaluation)
    if work.tokens_per_completion is not None:
        one, run = (trajectory_bytes(s, work.expected_tokens(s) or 0) for s in (work.iteration, work.run))
        table.add_row("  expected", size(one), size(run), "at the mean length so far")
    config = plan.config
    dtype = config.model.dtype + (f", {storage.policies} at most at a time" if config.train.keep_policies else "")
    table.add_row("policies", size(storage.policy), size(storage.policies * storage.policy), dtype)
    weights = "moments and float32 weights" if config.model.dtype != "float32" and not config.train.lora else "moments"
    kept = f"{weights}, the newest {storage.optimizers} at most"
    table.add_row("optimizer", size(storage.optimizer), size(storage.optimizers * storage.optimizer), kept)
    if storage.adapters:
        table.add_row("adapters", size(storage.adapters), size(storage.iterations * storage.adapters), "float32")
    table.add_row("base policy", "", size(storage.base), "once")
    if storage.guide:
        table.add_row("guide", "", size(storage.guide), "once")
    if storage.checkpoint:
        table.add_row("checkpoint", "", size(storage.checkpoint), "while an iteration trains")
    table.add_row("total", size(storage.iteration), size(storage.total), "at most, at a time")
    return table
