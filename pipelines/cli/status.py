"""`rapid status`: how far a run is, in a store or on a cluster."""

from typing import Annotated

import typer
from rich.console import Console

from components.results import read_run, run_warnings
from components.store import ObjectMissing, Run
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, find_run
from pipelines.cli.connection import connected
from pipelines.cli.tables import results_table, totals_line
from pipelines.cluster.connection import Connection


@connected
def status_command(
    connection: Connection,
    run: RunArgument,
    store: StoreOption = DEFAULT_STORE,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Follow a run on a cluster to its end. Ctrl-C stops following, not the run."),
    ] = False,
) -> None:
    """Show what a run has committed so far: a row per policy, evaluations, seconds per stage.

    A name is looked for in the store first, then among the runs of the cluster; with --watch on the cluster only.

    Examples:

        rapid status small

        rapid status s3://bucket/fine-tunes/runs/small

        rapid status small --watch --endpoint https://kubeflow.example.com/pipeline
    """
    if watch:
        _on_cluster(connection, run, watch=True)
        return
    try:
        found = find_run(run, store)
    except ObjectMissing:
        if "/" in run or not connection.is_given:
            raise
        _on_cluster(connection, run, watch=False)
    else:
        _in_store(found)


def _in_store(found: Run) -> None:
    results = read_run(found)
    console = Console()
    console.print(results_table(found.config, results))
    console.print(totals_line(results), highlight=False, soft_wrap=True)
    for warning in run_warnings(results):
        console.print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)
    iterations = found.config.loop.iterations
    state = "finished" if found.published() else f"{results.policy_version} of {iterations} iterations trained"
    console.print(f"{state}; {found.uri}", highlight=False, markup=False, soft_wrap=True)


def _on_cluster(connection: Connection, name: str, *, watch: bool) -> None:
    from pipelines.cli.following import follow, show_ending, show_results
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import find_run as find_cluster_run
    from pipelines.cluster.watching import Watcher

    client = ClusterClient(connection)
    watcher = Watcher(client, find_cluster_run(client, name))
    if watch:
        follow(watcher)
        return
    show_results(watcher, Console())
    show_ending(watcher, Console())
