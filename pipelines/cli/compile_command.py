"""`rapid compile`: the pipeline as IR YAML."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.text import size

ClusterOption = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        help="Cluster settings (YAML): images, resources, nodes, secrets; see k8s/cluster.example.yaml.",
    ),
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
PipelinedOption = Annotated[
    bool | None,
    typer.Option(
        "--pipelined",
        help="Sample the next iteration while the current one trains; for runs with loop.staleness=1 and at least two "
        "GPUs.",
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
        max=48,
        help="Most iterations that a run of this pipeline can have, 16 by default; each run sets its own number.",
        show_default=False,
    ),
]


def compile_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("rapid.yaml"),
    cluster: ClusterOption = None,
    images: ImagesOption = None,
    cpu: CpuOption = False,
    pipelined: PipelinedOption = None,
    train_job: TrainJobOption = False,
    max_iterations: MaxIterationsOption = None,
) -> None:
    """Compile the pipeline to IR YAML for Kubeflow Pipelines.

    What a run trains (configuration, model, data, iterations) and what its stages request (cores, memory, accelerators,
    nodes, images, secret names) are parameters of the compiled pipeline, so one uploaded version serves many runs. The
    options below and FILE set the defaults of these parameters and everything that is fixed at compile time.

    Examples:

        rapid compile --images ghcr.io/me/rapid:1.0

        rapid compile --images ghcr.io/me/rapid:1.0 --cluster cluster.yaml --max-iterations 32 -o nightly.yaml

        rapid compile --images localhost:5001/rapid:dev --cpu

        rapid compile --images ghcr.io/me/rapid:1.0 --train-job -o rapid-nodes.yaml
    """
    from pipelines.cluster.cluster_config import load_cluster
    from pipelines.cluster.cluster_sections import TrainJob
    from pipelines.compilation import compile_pipeline

    settings = load_cluster(
        cluster,
        images=images,
        device="cpu" if cpu else None,
        pipelined=pipelined,
        max_iterations=max_iterations,
    )
    if train_job and settings.train_job is None:
        settings = settings.model_copy(update={"train_job": TrainJob()})
    compile_pipeline(output, settings)
    typer.echo(f"{output} ({size(output.stat().st_size)}, up to {settings.max_iterations} iterations)")
