"""`rapid status`, `rapid report`, `rapid trajectories`, `rapid rewards`: what a run has committed."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.printable import printable
from components.results import breakdown, read_completions, read_run, shown_rows, subject_column
from components.store import ObjectMissing
from pipelines.cli.arguments import (
    DEFAULT_STORE,
    RunArgument,
    StoreOption,
    WatchOption,
    connected,
    find_stored_run,
    named_run,
)
from pipelines.cli.output import say
from pipelines.cli.run_tables import breakdown_table, grading_table, print_results, print_warnings
from pipelines.cluster.connection import Connection
from pipelines.cluster.silent_workers import unfinished_lines


@connected
def status_command(
    connection: Connection, name_or_uri: RunArgument, store: StoreOption = DEFAULT_STORE, watch: WatchOption = False
) -> None:
    """Show what a run has committed: a row per policy with its evaluation and the seconds of each stage.

    Looks for a name in the store first, then among the runs on the cluster; with --watch, on the cluster only.

    Examples:

        rapid status small

        rapid status my.yaml

        rapid status s3://bucket/fine-tunes/runs/small

        rapid status small --watch --endpoint https://kubeflow.example.com/pipeline
    """
    given, (name_or_uri, store) = name_or_uri, named_run(name_or_uri, store)
    if watch:
        _on_cluster(connection, name_or_uri, watch=True)
        return
    try:
        run = find_stored_run(name_or_uri, store)
    except InputError as error:
        elsewhere = name_or_uri != given or isinstance(error, ObjectMissing)
        if "/" in name_or_uri or not connection.is_given or not elsewhere:
            raise
        _on_cluster(connection, name_or_uri, watch=False)
        return
    results, console = read_run(run), Console()
    print_results(run.config, results, console)
    iterations = run.config.loop.iterations
    if run.published():
        say(console, f"finished; {run.uri}")
        return
    say(console, f"{results.policy_version} of {iterations} iterations trained; {run.uri}")
    for line in unfinished_lines(run):
        say(console, line)


def _on_cluster(connection: Connection, name: str, *, watch: bool) -> None:
    from pipelines.cli.cluster_run_view import follow, show_ending, show_results
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import find_run, has_ended
    from pipelines.cluster.watcher import Watcher

    client = ClusterClient(connection)
    watcher = Watcher(client, find_run(client, name))
    if watch:
        follow(watcher)
        return
    show_results(watcher, Console())
    if not has_ended(watcher.run):
        with suppress(InputError):  # that the store cannot be read has been said
            for line in unfinished_lines(watcher.stored_run()):
                say(Console(), line)
        for line in watcher.waiting():
            say(Console(), line)
    show_ending(watcher, Console())


def report_command(
    name_or_uri: RunArgument,
    store: StoreOption = DEFAULT_STORE,
    output: Annotated[Path | None, typer.Option(help="File to write; RUN.html by default.")] = None,
) -> None:
    """Write the report of a run, finished or not, as one self-contained HTML file.

    Example:

        rapid report small --output small.html
    """
    run = find_stored_run(name_or_uri, store)
    from components.publish.render_report import render_report

    path = output or Path(f"{run.layout.run}.html")
    html = render_report(run, read_run(run))
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place with --output") from None
    typer.echo(path.absolute())


def trajectories_command(
    name_or_uri: RunArgument,
    iteration: Annotated[int | None, typer.Option(min=1, help="Iteration; the final evaluation by default.")] = None,
    best: Annotated[bool, typer.Option("--best", help="Highest rewards first.")] = False,
    worst: Annotated[bool, typer.Option("--worst", help="Lowest rewards first.")] = False,
    split: Annotated[
        Literal["train", "eval"] | None, typer.Option(help="Training prompts (train) or held-out prompts (eval) only.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of completions.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the random order.")] = 0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show completions with their rewards, at random unless --best or --worst is given.

    Example:

        rapid trajectories small --iteration 2 --worst -n 4
    """
    if best and worst:
        raise InputError("--best and --worst cannot be combined")
    run = find_stored_run(name_or_uri, store)
    round_ = Round.iteration(iteration) if iteration else run.final_round()
    rows = read_completions(run, round_)
    if split:
        rows = rows.filter(pc.equal(rows["split"], split))
    if not rows.num_rows:
        every = run.config.evaluate.every
        rarely = f"; every {every}. iteration samples held-out prompts" if split == "eval" and every > 1 else ""
        wanted = f" of the {split} split" if split else ""
        raise InputError(f"{round_} of {run.uri} holds no completions{wanted}{rarely}")
    console = Console()
    for row in _pick(rows, best - worst, count, seed):
        console.print(_panel(row))
    order = "best first" if best else "worst first" if worst else "at random"
    console.print(f"{min(count, rows.num_rows)} of {rows.num_rows} completions of {round_}, {order}", highlight=False)


def _pick(rows: pa.Table, direction: int, count: int, seed: int) -> list[dict[str, object]]:
    """Return rows in descending (1), ascending (-1) or random (0) order of reward."""
    shuffled = np.random.default_rng(seed).permutation(rows.num_rows)
    # A stable sort of the shuffled rows breaks ties at random.
    order = np.argsort(-direction * rows["reward"].to_numpy()[shuffled], kind="stable")
    picked: list[dict[str, object]] = rows.take(shuffled[order[:count]]).to_pylist()
    return picked


def _panel(row: dict[str, object]) -> Panel:
    tokens = row["completion_token_ids"]
    logprobs = row["behaviour_logprobs"]
    assert isinstance(tokens, list)
    assert isinstance(logprobs, list)
    body = Text.assemble((printable(str(row["prompt"])), "dim"), "\n", printable(str(row["text"])))
    if row["answer"] is not None:
        body.append(f"\nreference answer: {printable(str(row['answer']))}", style="dim")
    if row["detail"]:
        body.append(f"\n{row['status']}: {printable(str(row['detail']))}", style="red")
    reward = row["reward"]
    assert isinstance(reward, float)
    title = f"reward {reward:.3g}  {row['status']}  {row['group_id']} #{row['sample_index']}"
    mean = sum(logprobs) / max(1, len(logprobs))
    subtitle = f"{len(tokens)} tokens, {row['finish_reason']}, mean log-probability {mean:.2f}"
    return Panel(body, title=Text(printable(title)), subtitle=subtitle, title_align="left", subtitle_align="left")


def rewards_command(
    name_or_uri: RunArgument,
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
    run = find_stored_run(name_or_uri, store)
    results = read_run(run)
    if not results.rounds:
        raise InputError(f"{run.uri} has no rewards yet")
    console = Console()
    console.print(grading_table(results))
    print_warnings(results, console)
    round_ = Round.iteration(iteration) if iteration else results.rounds[-1].round_
    rows = shown_rows(read_completions(run, round_))
    split = "Held-out" if pc.any(pc.equal(rows["split"], "eval")).as_py() else "Training"
    column = by or subject_column(rows)
    entries = breakdown(rows, run.config.evaluate, column)
    if entries:
        console.print()
        title = f"{split} prompts of {round_}, policy {run.sampled_policy(round_)}"
        console.print(breakdown_table(title, column, entries))
