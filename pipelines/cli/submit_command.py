"""`rapid submit`: a fine-tune on a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from components.contract.config import RunConfig
from components.contract.resolve import load_config
from pipelines.cli.arguments import ConfigArgument, OverridesArgument, WatchOption
from pipelines.cli.compile_command import ClusterOption
from pipelines.cli.connection_options import connected
from pipelines.cli.output import say
from pipelines.cluster.connection import Connection

if TYPE_CHECKING:
    from pipelines.cluster.cluster_config import ClusterConfig
    from pipelines.cluster.submit import Version

ServiceAccountOption = Annotated[
    str | None,
    typer.Option(help="Kubernetes service account of the pods, instead of the one in FILE.", show_default=False),
]


@connected
def submit_command(
    connection: Connection,
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    cluster: ClusterOption = None,
    service_account: ServiceAccountOption = None,
    watch: WatchOption = False,
) -> None:
    """Start a fine-tune in Kubeflow Pipelines and print its link.

    Compiles the pipeline and uploads it, unless the server already has this version. As with rapid run, the run's name
    is its identity: submitting a run that has ended continues it after its last committed stage.

    With --watch the exit status is 0 if the run succeeded, 1 if it failed, 3 if it was cancelled.

    Examples:

        rapid submit my.yaml store=s3://bucket/fine-tunes --endpoint https://kubeflow.example.com/pipeline

        rapid submit my.yaml --cluster cluster.yaml --watch

        rapid submit my.yaml run.name=hot rollout.temperature=1.2
    """
    from pipelines.cli.cluster_run_view import follow_or_explain
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.submit import submit

    resolved = load_config(config, overrides or ())
    settings = checked_cluster(resolved, cluster, service_account)
    client = ClusterClient(connection)
    run, version = submit(client, resolved, settings)
    say(Console(), version_line(version))
    say(Console(), f"run {resolved.run.name} started: {client.run_link(run.run_id)}")
    follow_or_explain(client, run, watch)


def checked_cluster(config: RunConfig, file: Path | None, service_account: str | None) -> "ClusterConfig":
    """Load the cluster's settings and check the configuration against them, before anything is sent.

    Raises:
        InputError: the settings cannot be read, or the run cannot work on the cluster; names every reason.
    """
    from pipelines.cluster.cluster_config import load_cluster
    from pipelines.preflight import preflight
    from pipelines.preflight.findings import refuse_errors

    settings = load_cluster(file, service_account=service_account).fitting(config)
    refuse_errors(preflight(config, settings).findings, "this run cannot work on a cluster")
    return settings


def version_line(version: "Version") -> str:
    return f"pipeline version {version.name} ({'already uploaded' if version.reused else 'uploaded now'})"
