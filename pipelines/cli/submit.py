"""`rapid submit`: a fine-tune on a cluster."""

from typing import Annotated

import typer
from rich.console import Console

from components.contract.resolve import load_config
from pipelines.cli.arguments import ConfigArgument, OverridesArgument
from pipelines.cli.compile import ClusterOption
from pipelines.cli.connection import connected
from pipelines.cli.submission import ServiceAccountOption, version_line
from pipelines.cluster.connection import Connection


@connected
def submit_command(
    connection: Connection,
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    cluster: ClusterOption = None,
    service_account: ServiceAccountOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the run to its end. Ctrl-C stops following, not the run.")
    ] = False,
) -> None:
    """Start a fine-tune in Kubeflow Pipelines, and print its link.

    The pipeline is compiled and uploaded, unless this very pipeline is there already. The run's name is its identity,
    as with rapid run: submitted again after it has ended, it goes on behind its last committed stage.

    With --watch the exit status is 0 when the run succeeded, 1 when it failed, 3 when it was cancelled.

    Examples:

        rapid submit my.yaml store=s3://bucket/fine-tunes --endpoint https://kubeflow.example.com/pipeline

        rapid submit my.yaml --cluster cluster.yaml --watch

        rapid submit my.yaml run.name=hot rollout.temperature=1.2
    """
    from pipelines.cli.following import come_back, follow, say
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.config import load_cluster
    from pipelines.cluster.readiness import check_ready
    from pipelines.cluster.submission import submit
    from pipelines.cluster.watching import Watcher

    resolved = load_config(config, overrides or ())
    settings = load_cluster(cluster, service_account=service_account).fitting(resolved)
    # Before a client is made, so that what is wrong here is said first.
    check_ready(resolved, settings)
    client = ClusterClient(connection)
    run, version = submit(client, resolved, settings)
    console, name = Console(), resolved.run.name
    say(console, version_line(version))
    say(console, f"run {name} started: {client.run_link(run.run_id)}")
    if watch:
        follow(Watcher(client, run))
    else:
        say(console, come_back(client, name))
