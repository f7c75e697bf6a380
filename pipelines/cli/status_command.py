"""`rapid status`: the progress of a run, in a store or on a cluster."""

from rich.console import Console

from components.results import read_run
from components.store import ObjectMissing, Run
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, WatchOption, find_stored_run
from pipelines.cli.connection_options import connected
from pipelines.cli.output import say
from pipelines.cli.run_tables import print_results
from pipelines.cluster.connection import Connection


@connected
def status_command(
    connection: Connection, run: RunArgument, store: StoreOption = DEFAULT_STORE, watch: WatchOption = False
) -> None:
    """Show what a run has committed: a row per policy with its evaluation and the seconds of each stage.

    Looks for a name in the store first, then among the runs on the cluster; with --watch, on the cluster only.

    Examples:

        rapid status small

        rapid status s3://bucket/fine-tunes/runs/small

        rapid status small --watch --endpoint https://kubeflow.example.com/pipeline
    """
    if watch:
        _on_cluster(connection, run, watch=True)
        return
    try:
        stored = find_stored_run(run, store)
    except ObjectMissing:
        if "/" in run or not connection.is_given:
            raise
        _on_cluster(connection, run, watch=False)
    else:
        _in_store(stored)


def _in_store(run: Run) -> None:
    results = read_run(run)
    console = Console()
    print_results(run.config, results, console)
    iterations = run.config.loop.iterations
    state = "finished" if run.published() else f"{results.policy_version} of {iterations} iterations trained"
    say(console, f"{state}; {run.uri}")


def _on_cluster(connection: Connection, name: str, *, watch: bool) -> None:
    from pipelines.cli.cluster_run_view import follow, show_ending, show_results
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import find_run
    from pipelines.cluster.watcher import Watcher

    client = ClusterClient(connection)
    watcher = Watcher(client, find_run(client, name))
    if watch:
        follow(watcher)
        return
    show_results(watcher, Console())
    show_ending(watcher, Console())
