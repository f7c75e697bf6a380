"""`rapid cancel`: end a run on a cluster."""

from rich.console import Console

from components.contract.errors import InputError
from pipelines.cli.arguments import ClusterRunArgument
from pipelines.cli.connection import connected
from pipelines.cluster.connection import Connection


@connected
def cancel_command(connection: Connection, run: ClusterRunArgument) -> None:
    """End a run in Kubeflow Pipelines. What it has committed is kept, and rapid resume goes on from there.

    Example:

        rapid cancel my-run
    """
    from pipelines.cli.following import say
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import ended, find_run, run_name, state_word

    client = ClusterClient(connection)
    found = find_run(client, run)
    name = run_name(found)
    if ended(found):
        raise InputError(f"run {name} has ended already: {state_word(found)}")
    # Kubeflow refuses to be told twice.
    if found.state != "CANCELING":
        client.terminate_run(found.run_id)
    say(Console(), f"run {name} is being cancelled: {client.run_link(found.run_id)}")
    say(Console(), f"what was committed is kept; go on with: rapid resume {name}{connection.options}")
