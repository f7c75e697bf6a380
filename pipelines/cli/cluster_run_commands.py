"""`rapid runs`, `rapid cancel`, `rapid resume`: the runs on a cluster."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from components.contract.errors import InputError
from components.contract.layout import RunLayout
from components.store import open_store
from components.store.cancellation import cancel
from pipelines.cli.arguments import ClusterRunArgument, ResumesOption, WatchOption, connected, require_watch
from pipelines.cli.output import duration_text, moment_text, say
from pipelines.cluster.connection import Connection

if TYPE_CHECKING:
    import kfp_server_api as kfp


@connected
def runs_command(
    connection: Connection,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Number of runs to list.")] = 20,
) -> None:
    """List the newest runs in Kubeflow Pipelines.

    Example:

        rapid runs --limit 5
    """
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import SHORT_ID, has_ended, run_name, run_state

    client, console = ClusterClient(connection), Console()
    runs = list(islice(client.runs(), limit))
    if not runs:
        say(console, f"{client.address} has no runs; start one with: rapid submit CONFIG")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    for column in ("state", "started", "took", "ID"):
        table.add_column(column, no_wrap=True)
    for run in runs:
        table.add_row(
            run_name(run),
            run_state(run),
            moment_text(run.created_at),
            duration_text(run.finished_at - run.created_at) if has_ended(run) else "-",
            run.run_id[:SHORT_ID],
        )
    console.print(table)


@connected
def cancel_command(connection: Connection, name_or_id: ClusterRunArgument) -> None:
    """Cancel a run in Kubeflow Pipelines. Committed stages are kept; rapid resume continues after them.

    First marks the run in its store as cancelled: its stages and training jobs look for that, and commit nothing more.

    Example:

        rapid cancel my-run
    """
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import find_run, has_ended, run_name, run_state

    client = ClusterClient(connection)
    run = find_run(client, name_or_id)
    name = run_name(run)
    if has_ended(run):
        raise InputError(f"run {name} has already ended: {run_state(run)}")
    _mark_as_cancelled(run)
    # Kubeflow refuses to cancel a run twice.
    if run.state != "CANCELING":
        client.terminate_run(run.run_id)
    say(Console(), f"cancelling run {name}: {client.run_link(run.run_id)}")
    say(Console(), f"committed stages are kept; continue with: rapid resume {name}{connection.options}")


def _mark_as_cancelled(run: "kfp.V2beta1Run") -> None:
    """Mark a run in its store as cancelled; say what it means where that is impossible from this machine."""
    from pipelines.cluster.runs import run_config

    try:
        config = run_config(run)
        cancel(open_store(config.store.uri), RunLayout(config.run.name))
    except InputError as error:
        say(
            Console(stderr=True),
            f"the run cannot be marked as cancelled from this machine ({error}): until Kubeflow has ended its pods, "
            "up to half a minute, they may still commit; a training job on several nodes may for two minutes",
        )


@connected
def resume_command(
    connection: Connection,
    name_or_id: ClusterRunArgument,
    watch: WatchOption = False,
    resumes: ResumesOption = 0,
) -> None:
    """Continue a failed or cancelled run after its last committed stage.

    Starts a new run in Kubeflow with the same name, pipeline version and parameters. Stages skip what is already
    committed in the store.

    Examples:

        rapid resume my-run --watch

        rapid resume 6a6d6c1e-8c0b-4a43-9c55-2d7c1f6b2a10
    """
    from pipelines.cli.cluster_run_view import follow_or_explain
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import find_run, resume, run_name

    require_watch(resumes, watch)
    client = ClusterClient(connection)
    resumed = resume(client, find_run(client, name_or_id))
    say(Console(), f"run {run_name(resumed)} resumed: {client.run_link(resumed.run_id)}")
    follow_or_explain(client, resumed, watch, resumes)
