"""`rapid runs`: the runs on a cluster."""

from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli.connection import connected
from pipelines.cluster.connection import Connection


@connected
def runs_command(
    connection: Connection,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
) -> None:
    """List the newest runs in Kubeflow Pipelines.

    Example:

        rapid runs --limit 5
    """
    from pipelines.cli.following import say
    from pipelines.cli.tables import moment_text
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import ended, run_name, state_word

    client, console = ClusterClient(connection), Console()
    runs = list(islice(client.runs(), limit))
    if not runs:
        say(console, f"{client.address} has no runs; start one with: rapid submit CONFIG")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "state", "started", "ended", "ID"):
        table.add_column(column, overflow="fold")
    for run in runs:
        table.add_row(
            run_name(run),
            state_word(run),
            moment_text(run.created_at),
            moment_text(run.finished_at) if ended(run) else "-",
            run.run_id,
        )
    console.print(table)
