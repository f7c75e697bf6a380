"""`rapid resume`: go on with a run that failed or was cancelled."""

from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.arguments import ClusterRunArgument
from pipelines.cli.connection import connected
from pipelines.cluster.connection import Connection


@connected
def resume_command(
    connection: Connection,
    run: ClusterRunArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the run to its end. Ctrl-C stops following, not the run.")
    ] = False,
) -> None:
    """Go on with a run that failed or was cancelled, from its last committed stage.

    A new run starts in Kubeflow, of the same name, pipeline version and parameters; each stage passes over what is
    committed in the store.

    Examples:

        rapid resume my-run --watch

        rapid resume 6a6d6c1e-8c0b-4a43-9c55-2d7c1f6b2a10
    """
    from pipelines.cli.following import come_back, follow, say
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import find_run, resume, run_name
    from pipelines.cluster.watching import Watcher

    client = ClusterClient(connection)
    started = resume(client, find_run(client, run))
    name, console = run_name(started), Console()
    say(console, f"run {name} goes on: {client.run_link(started.run_id)}")
    if watch:
        follow(Watcher(client, started))
    else:
        say(console, come_back(client, name))
