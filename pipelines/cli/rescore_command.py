"""`rapid rescore`: grade stored completions again and compare the rewards."""

from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.printable import printable
from components.contract.resolve import config_json, parse_config
from components.results import Comparison, compare, read_run, require_rewards
from components.results.comparison import Changed
from components.store import Run
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, find_stored_run
from pipelines.cli.output import say

_SHOWN_CHARACTERS = 400


def rescore_command(
    name_or_uri: RunArgument,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Changed grading settings: reward=... and reward.KEY=... only.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    iteration: Annotated[
        str, typer.Option(help="Number of an iteration, or all for all iterations and evaluations.")
    ] = "all",
    examples: Annotated[int, typer.Option(min=0, help="Changed rewards to show per round and split.")] = 2,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Grade stored completions again, with other graders or with changed code of the same ones.

    Nothing is sampled, and the run keeps the rewards that its policies were trained on; the new rewards are stored
    beside them. To train on the new rewards, start a run under another name.

    Examples:

        rapid rescore RUN --iteration all reward=numeric

        rapid rescore RUN --iteration 3 "reward=[{name: math, options: {extract: boxed}}]"
    """
    run = find_stored_run(name_or_uri, store)
    config = _with_graders(run.config, overrides or [])
    rounds = _rounds(run, iteration)
    from components.reward.rescore import rescore

    console = Console()
    try:
        name = rescore(run, config, rounds)
    except KeyboardInterrupt:
        console.print("stopped; graded parts are kept, and the same command continues after them")
        raise typer.Exit(130) from None
    comparisons = [c for round_ in rounds for c in compare(run, round_, name, examples)]
    for comparison in comparisons:
        for example in comparison.examples:
            console.print(_panel(comparison, example))
    console.print(_table(comparisons))
    was, now = comparisons[-1].grader_version
    graders = "+".join(grader.component for grader in config.reward.graders)
    where = run.store.locate(run.layout.rescored(name, rounds[0], 0)).partition(name)[0] + name
    say(console, f"graders: {graders}, version {was} -> {now}")
    say(console, f"new rewards: {where}; the run's own are unchanged")


def _with_graders(config: RunConfig, words: list[str]) -> RunConfig:
    for word in words:
        if not word.startswith(("reward=", "reward.")):
            raise InputError(f"{word!r} is not a grading setting: only reward=... and reward.KEY=... are allowed")
    return parse_config(config_json(config), words, what="the run's configuration")


def _rounds(run: Run, iteration: str) -> list[Round]:
    if iteration == "all":
        rounds = [result.round_ for result in read_run(run).rounds]
        if not rounds:
            raise InputError(f"{run.uri} has no rewards yet to compare with")
        return rounds
    if not iteration.isdecimal() or int(iteration) == 0:
        raise InputError(f"--iteration must be the number of an iteration or all (got {iteration!r})")
    round_ = Round.iteration(int(iteration))
    require_rewards(run, round_)
    return [round_]


def _table(comparisons: list[Comparison]) -> Table:
    """Return a row per round and split: how many rewards changed, and before -> after."""
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
    body = Text(printable(text))
    if example.answer is not None:
        body.append(f"\nreference answer: {printable(example.answer)}", style="dim")
    if example.detail:
        body.append(f"\n{printable(example.detail)}", style="red")
    title = (
        f"{comparison.round_} {comparison.split} {example.group_id} #{example.sample_index}: "
        f"{example.before:g} -> {example.after:g}"
    )
    return Panel(body, title=Text(printable(title)), title_align="left")
