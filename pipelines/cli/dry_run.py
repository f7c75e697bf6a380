"""`rapid run CONFIG --dry-run`: what a run would do and take, as sections of a page."""

import shlex

from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from pipelines.checks.findings import Level
from pipelines.cli.findings import findings_table
from pipelines.cli.scripts import script
from pipelines.estimates.memory import micro_batch_tokens
from pipelines.estimates.storage import trajectory_bytes
from pipelines.plan import Plan

_CARDS = (24, 48, 80)
"""GiB of common GPUs."""


def size(count: float) -> str:
    """Bytes for people: 512 MiB, 1.4 GiB, 210 GiB."""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 2**power:
            value = count / 2**power
            return f"{value:,.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"
    return f"{count:,.0f} B"


def amount(count: float | None) -> str:
    """A count for people: 8,192 or 1.6 million."""
    if count is None:
        return "-"
    return f"{count / 1e6:,.1f} million" if count >= 1e6 else f"{count:,.0f}"


def print_plan(plan: Plan, command: list[str], console: Console) -> None:
    """Print findings, then estimates as far as there are any, then what to do next.

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
    wrong = sum(finding.level is Level.wrong for finding in plan.findings)
    start = shlex.join([script("rapid"), *command])
    if wrong:
        last = (
            f"{wrong} {'thing keeps' if wrong == 1 else 'things keep'} it from starting; nothing was started or written"
        )
    else:
        last = f"nothing was started or written; start it with: {start}"
    console.print()
    console.print(last, highlight=False, markup=False, soft_wrap=True)


def _section(console: Console, title: str, table: Table) -> None:
    console.print()
    console.print(Rule(title, align="left", style="dim"))
    console.print(table)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=any(headings))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if 0 < place < 3 else "left", no_wrap=place < 3)
    return table


def _iterations(count: int) -> str:
    return "1 iteration" if count == 1 else f"{count} iterations"


def _model(plan: Plan) -> Table:
    shape = plan.shape
    assert shape is not None
    table = _table("", "", "", "")
    lora = plan.config.train.lora
    trained = f"{shape.adapter_parameters(lora):,} of adapters are trained" if lora else "all are trained"
    table.add_row("parameters", f"{shape.parameters:,}", "", trained)
    table.add_row("layers", f"{shape.layers}", "", f"{shape.width:,} wide, {shape.intermediate:,} inside the MLP")
    table.add_row(
        "attention heads", f"{shape.heads}", "", f"{shape.kv_heads} of keys and values, {shape.head_width} wide"
    )
    if shape.windowed_layers:
        table.add_row("windowed layers", f"{shape.windowed_layers}", "", f"see the last {shape.window:,} tokens only")
    table.add_row("vocabulary", f"{shape.vocabulary:,}", "", "head tied to the embedding" if shape.tied else "")
    return table


def _work(plan: Plan) -> Table:
    work, config = plan.work, plan.config
    table = _table("", "an iteration", _iterations(work.iterations), "")
    one, run = work.iteration, work.run
    held = f"{amount(work.held_out.prompts)} of them held out" if work.held_out.prompts else ""
    table.add_row("prompts", amount(one.prompts), amount(run.prompts), held)
    group = f"{config.rollout.group_size} a prompt, {config.evaluate.samples} a held-out one"
    table.add_row("completions", amount(one.completions), amount(run.completions), group)
    known = "counted once, whatever the completions" if one.prompt_tokens is not None else "the prompts are not known"
    table.add_row("prompt tokens", amount(one.prompt_tokens), amount(run.prompt_tokens), known)
    longest = f"if all reach {config.rollout.max_tokens:,}"
    table.add_row("completion tokens, at most", amount(one.most_tokens), amount(run.most_tokens), longest)
    if work.tokens_per_completion is not None:
        so_far = f"at {work.tokens_per_completion:,.1f} a completion, as sampled so far"
        expected = [amount(work.expected_tokens(sampled)) for sampled in (one, run)]
        table.add_row("completion tokens, expected", *expected, so_far)
    steps = f"{config.train.mini_batch_prompts} prompts, {work.sequences // work.steps} sequences each"
    table.add_row("optimizer steps", amount(work.steps), amount(work.steps * work.iterations), steps)
    return table


def _engine(plan: Plan) -> Table:
    engine, config = plan.engine, plan.config
    assert engine is not None
    settings = config.rollout.engine
    table = _table("", "", "", "")
    parallel = f", one of {settings.tensor_parallel_size} parts" if settings.tensor_parallel_size > 1 else ""
    table.add_row("weights", size(engine.weights), "", config.model.dtype + parallel)
    length = f"of {config.model.max_length:,} tokens: prompt and completion"
    table.add_row("cache, one sequence", size(engine.sequence), "", length)
    together = f"{engine.sequences} sequences at full length (rollout.engine.max_num_seqs)"
    table.add_row("cache, all sequences", size(engine.cache), "", together)
    if not plan.on_gpu:
        cache = settings.cpu_kv_cache_gib
        fit = engine.sequences_within(cache * 2**30)
        table.add_row("sequences that fit", f"{min(fit, engine.sequences):,}", "", f"cpu_kv_cache_gib is {cache}")
    for card in _CARDS if plan.on_gpu else ():
        usable = card * 2**30 * settings.gpu_memory_utilization
        fit = min(engine.sequences_within(usable - engine.weights), engine.sequences)
        full = f"on a GPU of {card} GiB, {settings.gpu_memory_utilization:.0%} of it used, before activations"
        table.add_row("sequences that fit" if card == _CARDS[0] else "", f"{fit:,}", "", full)
    return table


def _training(plan: Plan) -> Table:
    memory, train = plan.training, plan.config.train
    assert memory is not None
    table = _table("", "", "", "")
    parts = train.processes * train.nodes
    processes = f", one of {parts} parts (FSDP)" if parts > 1 else ""
    frozen = f"frozen in {train.compute_dtype}, adapters in float32" if train.lora else "master copy in float32"
    passes = f"of {micro_batch_tokens(plan.config):,} tokens (train.micro_batch_tokens, one sequence at least)"
    rows = (
        ("weights", memory.weights, frozen + processes),
        ("gradients", memory.gradients, "float32" + processes),
        ("AdamW's moments", memory.moments, "two, float32" + processes),
        ("base policy", memory.reference, "for the KL term" + processes),
        ("gathered by FSDP", memory.gathered, "embeddings and two layers"),
        ("weights to compute with", memory.copies, train.compute_dtype),
        ("activations", memory.activations, passes),
        ("logits and head", memory.head, "of a chunk (train.logprob_chunk), and the head's gradient"),
    )
    for name, count, note in rows:
        if count:
            table.add_row(name, size(count), "", note)
    table.add_row(
        "in all",
        size(memory.total),
        "",
        "and what allocator and kernels add: measured peaks on the CPU were 1.2 to 1.5 times this",
    )
    return table


def _storage(plan: Plan) -> Table:
    storage, work = plan.storage, plan.work
    assert storage is not None
    table = _table("", "an iteration", _iterations(storage.iterations), "")
    evaluation = "and one evaluation at the end; at most"
    whole = storage.iterations * storage.trajectories + storage.evaluation
    table.add_row("trajectories and rewards", size(storage.trajectories), size(whole), evaluation)
    if (tokens := work.expected_tokens(work.iteration)) is not None:
        one = trajectory_bytes(work.iteration, tokens)
        last = trajectory_bytes(work.held_out, work.expected_tokens(work.held_out) or 0)
        table.add_row("  expected", size(one), size(one * storage.iterations + last), "at the lengths so far")
    table.add_row("policies", size(storage.policy), size(storage.iterations * storage.policy), plan.config.model.dtype)
    moments = "moments, and what continues training" if plan.config.model.dtype != "float32" else "moments"
    table.add_row("optimizer", size(storage.optimizer), size(storage.iterations * storage.optimizer), moments)
    table.add_row("base policy", "", size(storage.base), "once")
    if storage.checkpoint:
        table.add_row("checkpoint", "", size(storage.checkpoint), "while a pass runs")
    table.add_row("in all", size(storage.iteration), size(storage.total), "at most; iterations stay in the store")
    return table
