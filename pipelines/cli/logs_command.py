"""`rapid logs`: what the stages of a run have written."""

import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from components.contract.errors import InputError
from components.contract.layout import RunLayout
from components.contract.section import StageName
from components.store import Store, open_store, split_run_uri
from components.store.attempt_logs import AttemptLog, read_logs
from pipelines.cli.arguments import (
    DEFAULT_STORE,
    RunArgument,
    StoreOption,
    connected,
    find_stored_run,
    named_run,
    stored_run_uri,
)
from pipelines.cli.output import say
from pipelines.cluster.connection import Connection
from pipelines.log_view import LogView, Wanted, followed, has_ended

POLL_SECONDS = 5.0


@connected
def logs_command(
    connection: Connection,
    name_or_uri: RunArgument,
    stage: Annotated[StageName | None, typer.Argument(help="Stage; all of them by default.", metavar="STAGE")] = None,
    iteration: Annotated[int | None, typer.Option(min=1, help="What was written for this iteration only.")] = None,
    shard: Annotated[int | None, typer.Option(min=0, help="Which of rollout.shards, from 0.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show what comes until the run has ended; Ctrl-C stops that.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show what the stages of a run have written: each start with how it ended, then its lines with times in UTC.

    They are part of the run in its store: looks for a name there first, then among the runs on the cluster.

    Examples:

        rapid logs small

        rapid logs small train --iteration 3

        rapid logs small rollout --shard 1 --follow --endpoint https://kubeflow.example.com/pipeline
    """
    name_or_uri, store = named_run(name_or_uri, store)
    place, layout = split_run_uri(stored_run_uri(name_or_uri, store))
    ended: Callable[[], bool] = lambda: has_ended(read_logs(place, layout))  # noqa: E731
    if not read_logs(place, layout):
        if "/" in name_or_uri or not connection.is_given:
            find_stored_run(name_or_uri, store)  # refuses a run that does not exist
            if not follow:
                raise InputError(f"{place.locate(layout.root)} holds no logs: no stage has started since logs are kept")
        else:
            place, layout, ended = _on_cluster(connection, name_or_uri)

    def read() -> list[AttemptLog]:
        return read_logs(place, layout, stage)

    console, view = Console(), LogView(Wanted(shard, iteration))
    if not follow:
        lines = list(view.lines(read()))
        if not lines:
            raise InputError(f"{place.locate(layout.root)} holds no such log; without options, all of them are shown")
        for line in lines:
            say(console, line)
        return
    try:
        for line in followed(read, view, ended, lambda: time.sleep(POLL_SECONDS)):
            say(console, line)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _on_cluster(connection: Connection, name: str) -> tuple[Store, RunLayout, Callable[[], bool]]:
    """Return the store and layout of a run on the cluster, and whether it has ended. Raises InputError without logs."""
    from pipelines.cli.cluster_run_view import pods_line
    from pipelines.cluster import runs
    from pipelines.cluster.client import ClusterClient

    client = ClusterClient(connection)
    run = runs.find_run(client, name)
    config = runs.run_config(run)
    store, layout = open_store(config.store.uri), RunLayout(config.run.name)
    try:
        found = read_logs(store, layout)
    except InputError as error:
        raise InputError(f"the logs cannot be read from this machine: {error}; {pods_line(client, run)}") from None
    if not found:
        raise InputError(f"no stage of {name} has left a log in {store.uri} yet; {pods_line(client, run)}")
    return store, layout, lambda: runs.has_ended(client.run(run.run_id))
