"""`rapid compile`: the pipeline as IR YAML."""

from pathlib import Path
from typing import Annotated

import typer

ClusterOption = Annotated[
    Path | None,
    typer.Option("--cluster", metavar="FILE", help="YAML of where and with what stages run; k8s/cluster.example.yaml."),
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
    typer.Option("--cpu", help="For a cluster without GPUs: every stage in the image PREFIX/cpu:TAG, small requests."),
]
PipelinedOption = Annotated[
    bool | None,
    typer.Option(
        "--pipelined",
        help="Sample for the next iteration while one trains; for runs with loop.staleness=1 and two or more GPUs.",
        show_default=False,
    ),
]
TrainJobOption = Annotated[
    bool,
    typer.Option(
        "--train-job",
        help="Train as a Kubeflow Trainer job, on as many nodes as the run says; for runs with train.nodes > 1.",
    ),
]
MaxIterationsOption = Annotated[
    int | None,
    typer.Option(
        "--max-iterations",
        min=1,
        max=48,
        help="Most iterations a run of it can have, 16 by default; each run sets its own number.",
        show_default=False,
    ),
]


def compile_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path("rapid.yaml"),
    cluster: ClusterOption = None,
    images: ImagesOption = None,
    cpu: CpuOption = False,
    pipelined: PipelinedOption = None,
    train_job: TrainJobOption = False,
    max_iterations: MaxIterationsOption = None,
) -> None:
    """Compile the pipeline to the IR YAML that Kubeflow Pipelines takes.

    What a run is about (configuration, model, data, iterations) and what its stages ask for (cores, memory,
    accelerators, nodes, images, names of secrets) are parameters of the compiled pipeline: one uploaded version
    serves many runs. The options here, and FILE, set their defaults and what cannot wait for the run.

    Examples:

        rapid compile --images ghcr.io/me/rapid:1.0

        rapid compile --images ghcr.io/me/rapid:1.0 --cluster cluster.yaml --max-iterations 32 -o nightly.yaml

        rapid compile --images localhost:5001/rapid:dev --cpu

        rapid compile --images ghcr.io/me/rapid:1.0 --train-job -o rapid-nodes.yaml
    """
    from pipelines.cluster.config import load_cluster
    from pipelines.cluster.sections import TrainJob
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
    typer.echo(f"{output} ({output.stat().st_size / 1024:.0f} KB, up to {settings.max_iterations} iterations)")
