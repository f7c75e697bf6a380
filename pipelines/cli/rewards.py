"""`rapid rewards`: how grading went, and what it says by subject."""

from typing import Annotated

import pyarrow.compute as pc
import typer
from rich.console import Console

from components.contract.errors import InputError
from components.contract.layout import Round
from components.results import breakdown, read_completions, read_run, run_warnings, subject_column
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, find_run
from pipelines.cli.tables import breakdown_table, status_table


def rewards_command(
    run: RunArgument,
    iteration: Annotated[
        int | None, typer.Option(min=1, help="Iteration to break down; without it the newest round.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Column of the data to break down by; else subject, data_source, ...")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show completions by grading status, and one round's held-out rewards, pass@k and majority vote by subject.

    Example:

        rapid rewards small --iteration 3 --by level
    """
    found = find_run(run, store)
    results = read_run(found)
    if not results.rounds:
        raise InputError(f"{found.uri} has no rewards yet")
    console = Console()
    console.print(status_table(results))
    for warning in run_warnings(results):
        console.print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)
    round_ = Round.iteration(iteration) if iteration else results.rounds[-1].round_
    rows = read_completions(found, round_)
    held_out = rows.filter(pc.equal(rows["split"], "eval"))
    split, rows = ("held-out", held_out) if held_out.num_rows else ("training", rows)
    column = by or subject_column(rows)
    entries = breakdown(rows, found.config.evaluate, column)
    if entries:
        console.print()
        title = f"{split[0].upper()}{split[1:]} prompts of {round_}, policy {found.sampled_policy(round_)}"
        console.print(breakdown_table(title, column, entries))
