"""`rapid rescore`: stored completions graded again by other graders, and what that changes."""

from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.resolve import config_json, parse_config
from components.results import Comparison, compare, read_run, round_manifests
from components.results.comparison import Changed
from components.store import Run
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, find_run

_SHOWN_CHARACTERS = 400


def rescore_command(
    run: RunArgument,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="How to grade, where it differs from the run: reward=... and reward.KEY=... only.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    iteration: Annotated[str, typer.Option(help="Number of an iteration, or all (evaluations too).")] = "all",
    examples: Annotated[int, typer.Option(min=0, help="Changed completions to show, per round and split.")] = 2,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Grade stored completions again with other graders, or with the same ones whose code has changed.

    Nothing is sampled, and the run stays as it is: its policies were trained on the rewards it has. The new scores go
    beside them. To train on them, start a run of another name.

    Examples:

        rapid rescore RUN --iteration all reward=numeric

        rapid rescore RUN --iteration 3 "reward=[{name: math, options: {extract: boxed}}]"
    """
    found = find_run(run, store)
    config = _with_graders(found.config, overrides or [])
    rounds = _rounds(found, iteration)
    from components.reward.rescore import rescore

    console = Console()
    try:
        name = rescore(found, config, rounds)
    except KeyboardInterrupt:
        console.print("stopped; graded parts are kept, the same command continues")
        raise typer.Exit(130) from None
    comparisons = [c for round_ in rounds for c in compare(found, round_, name, examples)]
    for comparison in comparisons:
        for example in comparison.examples:
            console.print(_panel(comparison, example))
    console.print(_table(comparisons))
    was, now = comparisons[-1].grader_version
    graders = "+".join(grader.component for grader in config.reward.graders)
    where = found.store.locate(found.layout.rescored(name, rounds[0], 0)).partition(name)[0] + name
    console.print(f"graders: {graders}, version {was} -> {now}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"scores: {where}; the run's own are as they were", highlight=False, markup=False, soft_wrap=True)


def _with_graders(config: RunConfig, words: list[str]) -> RunConfig:
    for word in words:
        if not word.startswith(("reward=", "reward.")):
            raise InputError(f"{word!r} does not concern grading; only reward=... and reward.KEY=... may be given")
    return parse_config(config_json(config), words, what="the run's configuration")


def _rounds(run: Run, iteration: str) -> list[Round]:
    if iteration == "all":
        rounds = [result.round_ for result in read_run(run).rounds]
        if not rounds:
            raise InputError(f"{run.uri} has no rewards yet, so there is nothing to compare with")
        return rounds
    if not iteration.isdecimal() or int(iteration) == 0:
        raise InputError(f"--iteration is {iteration!r}; give the number of an iteration, or all")
    round_ = Round.iteration(int(iteration))
    if round_manifests(run, round_) is None:
        raise InputError(
            f"{run.uri}: {round_} has no rewards yet, or not of all its {run.config.rollout.shards} shards"
        )
    return [round_]


def _table(comparisons: list[Comparison]) -> Table:
    """A row per round and split: how many rewards changed, and before -> after."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("round", "split", "completions", "changed", "reward", "passed", "failed"):
        table.add_column(name, justify="left" if name == "split" else "right", no_wrap=True)
    for c in comparisons:
        table.add_row(
            str(c.round_),
            c.split,
            f"{c.completions:,}",
            f"{c.changed:,}",
            f"{c.reward[0]:.3f} -> {c.reward[1]:.3f}",
            f"{c.passed[0]:.1%} -> {c.passed[1]:.1%}",
            f"{c.failed[0]} -> {c.failed[1]}",
        )
    return table


def _panel(comparison: Comparison, example: Changed) -> Panel:
    text = example.text if len(example.text) <= _SHOWN_CHARACTERS else "... " + example.text[-_SHOWN_CHARACTERS:]
    body = Text(text)
    if example.answer is not None:
        body.append(f"\nanswer {example.answer}", style="dim")
    if example.detail:
        body.append(f"\n{example.detail}", style="red")
    title = (
        f"{comparison.round_} {comparison.split} {example.group_id} #{example.sample_index}: "
        f"{example.before:g} -> {example.after:g}"
    )
    return Panel(body, title=title, title_align="left")
