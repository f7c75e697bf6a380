"""`rapid rewards`: the grading of a run's rounds, and the rewards of one of them by subject."""

from typing import Annotated

import pyarrow.compute as pc
import typer
from rich.console import Console

from components.contract.errors import InputError
from components.contract.layout import Round
from components.results import breakdown, read_completions, read_run, subject_column
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, find_stored_run
from pipelines.cli.run_tables import breakdown_table, grading_table, print_warnings


def rewards_command(
    run: RunArgument,
    iteration: Annotated[
        int | None, typer.Option(min=1, help="Iteration to break down; the newest round by default.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Column of the data to break down by; by default subject, data_source or a similar one."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show the grading status of each round, and the rewards, pass@k and majority vote of one round by subject.

    Example:

        rapid rewards small --iteration 3 --by level
    """
    stored = find_stored_run(run, store)
    results = read_run(stored)
    if not results.rounds:
        raise InputError(f"{stored.uri} has no rewards yet")
    console = Console()
    console.print(grading_table(results))
    print_warnings(results, console)
    round_ = Round.iteration(iteration) if iteration else results.rounds[-1].round_
    rows = read_completions(stored, round_)
    held_out = rows.filter(pc.equal(rows["split"], "eval"))
    split, rows = ("Held-out", held_out) if held_out.num_rows else ("Training", rows)
    column = by or subject_column(rows)
    entries = breakdown(rows, stored.config.evaluate, column)
    if entries:
        console.print()
        title = f"{split} prompts of {round_}, policy {stored.sampled_policy(round_)}"
        console.print(breakdown_table(title, column, entries))
