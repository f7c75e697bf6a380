"""`rapid compile` and `rapid submit`: the pipeline as IR YAML, and a fine-tune on a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from components.contract.config import RunConfig
from components.contract.resolve import load_config
from pipelines.cli.arguments import (
    ConfigArgument,
    OverridesArgument,
    ResumesOption,
    WatchOption,
    connected,
    require_watch,
)
from pipelines.cli.output import say
from pipelines.cluster.cluster_sections import Layout
from pipelines.cluster.connection import Connection
from pipelines.text import size

if TYPE_CHECKING:
    from pipelines.cluster.cluster_config import ClusterConfig
    from pipelines.cluster.submit import Version

ClusterOption = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        help="Cluster settings (YAML): images, resources, nodes, secrets; see k8s/cluster.example.yaml.",
    ),
]
ServiceAccountOption = Annotated[
    str | None,
    typer.Option(help="Kubernetes service account of the pods, instead of the one in FILE.", show_default=False),
]
ImagesOption = Annotated[
    str | None,
    typer.Option(
        "--images",
        metavar="REGISTRY/PREFIX:TAG",
        help="Images of the stages: PREFIX/rollout:TAG, PREFIX/train:TAG and so on.",
        show_default=False,
    ),
]
CpuOption = Annotated[
    bool,
    typer.Option(
        "--cpu", help="For a cluster without GPUs: run every stage in the image PREFIX/cpu:TAG, on few cores."
    ),
]
LayoutOption = Annotated[
    Layout | None,
    typer.Option(
        "--layout",
        help="workers: a pod for each stage and shard, for the whole run (default). pod: one pod for all stages, on "
        "one GPU. tasks: a pod for each stage and shard of each iteration.",
        show_default=False,
    ),
]
TrainJobOption = Annotated[
    bool,
    typer.Option(
        "--train-job",
        help="Train in a Kubeflow Trainer job on train.nodes nodes; for runs with train.nodes > 1.",
    ),
]
MaxIterationsOption = Annotated[
    int | None,
    typer.Option(
        "--max-iterations",
        min=1,
        help="With --layout tasks: most iterations of a run, 16 by default; each run sets its own number.",
        show_default=False,
    ),
]


def compile_command(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="Configuration (YAML) of the runs that are started without one.",
            metavar="CONFIG",
            show_default=False,
        ),
    ] = None,
    overrides: OverridesArgument = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("rapid.yaml"),
    cluster: ClusterOption = None,
    images: ImagesOption = None,
    cpu: CpuOption = False,
    layout: LayoutOption = None,
    train_job: TrainJobOption = False,
    max_iterations: MaxIterationsOption = None,
) -> None:
    """Compile the pipeline to IR YAML for Kubeflow Pipelines.

    Its parameters are what people change between runs: configuration, name, model, data, iterations, and the images and
    GPUs of rollout and train. CONFIG becomes the default of the configuration, so that runs can be started, cloned and
    scheduled on Kubeflow's pages alone; without it each run has to name one, such as s3://bucket/my.yaml. The options
    below and FILE set the other defaults and everything that is compiled in.

    Examples:

        rapid compile my.yaml --cluster cluster.yaml

        rapid compile my.yaml loop.iterations=8 --images ghcr.io/me/rapid:1.0 --layout tasks -o nightly.yaml

        rapid compile --images localhost:5001/rapid:dev --cpu --layout pod

        rapid compile --images ghcr.io/me/rapid:1.0 --train-job -o rapid-nodes.yaml
    """
    from pipelines.cluster.cluster_config import load_cluster
    from pipelines.cluster.cluster_sections import TrainJob
    from pipelines.cluster.workflow_size import refuse_too_large
    from pipelines.compilation import compile_pipeline

    settings = load_cluster(
        cluster,
        images=images,
        device="cpu" if cpu else None,
        layout=layout,
        max_iterations=max_iterations,
    )
    if train_job and settings.train_job is None:
        settings = settings.model_copy(update={"train_job": TrainJob()})
    if config:
        resolved = load_config(config, overrides or ())
        settings = settings.fitting(resolved)
        refuse_what_cannot_run(resolved, settings)
        compile_pipeline(settings).with_config(resolved).write(output)
    else:
        compile_pipeline(settings).write(output)
    refuse_too_large(output, settings)
    typer.echo(f"{output} ({size(output.stat().st_size)}, {settings.describe()})")


@connected
def submit_command(
    connection: Connection,
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    cluster: ClusterOption = None,
    service_account: ServiceAccountOption = None,
    watch: WatchOption = False,
    resumes: ResumesOption = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the run and the cluster's settings, and send nothing.")
    ] = False,
) -> None:
    """Start a fine-tune in Kubeflow Pipelines and print its link.

    Compiles the pipeline with this configuration and uploads it, unless the server already has this version. As with
    rapid run, the run's name is its identity: submitting a run that has ended continues it after its last committed
    stage.

    With --watch the exit status is 0 if the run succeeded, 1 if it failed, 3 if it was cancelled; with --dry-run it is
    2 if submit would refuse the run.

    Examples:

        rapid submit my.yaml --cluster cluster.yaml --dry-run

        rapid submit my.yaml store=s3://bucket/fine-tunes --endpoint https://kubeflow.example.com/pipeline

        rapid submit my.yaml --cluster cluster.yaml --watch --resume 3

        rapid submit my.yaml run.name=hot rollout.temperature=1.2
    """
    from pipelines.cli.cluster_run_view import follow_or_explain
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.submit import submit

    require_watch(resumes, watch)
    resolved = load_config(config, overrides or ())
    if dry_run:
        print_checks(resolved, cluster, service_account)
        return
    settings = checked_cluster(resolved, cluster, service_account)
    client = ClusterClient(connection)
    run, version = submit(client, resolved, settings)
    say(Console(), version_line(version))
    say(Console(), f"run {resolved.run.name} started: {client.run_link(run.run_id)}")
    follow_or_explain(client, run, watch, resumes)


def print_checks(config: RunConfig, file: Path | None, service_account: str | None) -> None:
    """Print what submit checks and the pipeline that it would send. Raises typer.Exit where submit would refuse."""
    from pipelines.cli.plan_tables import print_findings
    from pipelines.compilation import compile_pipeline
    from pipelines.preflight import preflight
    from pipelines.preflight.findings import Finding, errors_of

    settings = fitting_cluster(config, file, service_account)
    findings = preflight(config, settings).findings
    if not errors_of(findings):
        compiled = compile_pipeline(settings).with_config(config)
        findings.append(Finding.ok("pipeline", f"{settings.describe()}, sha256-{compiled.digest[:16]}"))
    print_findings(findings, Console())
    say(Console(), "rapid submit would start this run; nothing was sent")


def checked_cluster(config: RunConfig, file: Path | None, service_account: str | None) -> "ClusterConfig":
    """Load the cluster's settings and check the configuration against them, before anything is sent.

    Raises:
        InputError: the settings cannot be read, or the run cannot work on the cluster; names every reason.
    """
    settings = fitting_cluster(config, file, service_account)
    refuse_what_cannot_run(config, settings)
    return settings


def fitting_cluster(config: RunConfig, file: Path | None, service_account: str | None) -> "ClusterConfig":
    """Load the cluster's settings for a run. Raises InputError where they cannot be read."""
    from pipelines.cluster.cluster_config import load_cluster

    return load_cluster(file, service_account=service_account).fitting(config)


def refuse_what_cannot_run(config: RunConfig, cluster: "ClusterConfig") -> None:
    """Raise InputError, which names every reason, if a run cannot work on the cluster."""
    from pipelines.preflight import preflight
    from pipelines.preflight.findings import refuse_errors

    refuse_errors(preflight(config, cluster).findings, "this configuration cannot run on a cluster")


def version_line(version: "Version") -> str:
    return f"pipeline version {version.name} ({'already uploaded' if version.reused else 'uploaded now'})"
