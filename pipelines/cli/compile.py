"""`rapid compile`: the pipeline as IR YAML."""

from pathlib import Path
from typing import Annotated

import typer


def compile_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path("rapid.yaml"),
    max_iterations: Annotated[
        int,
        typer.Option(
            min=1,
            max=48,
            help="Most iterations a run of it can have; each run sets its own number.",
        ),
    ] = 16,
) -> None:
    """Compile the pipeline to the IR YAML that Kubeflow Pipelines takes."""
    from pipelines.cluster.config import ClusterConfig
    from pipelines.compilation import compile_pipeline

    compile_pipeline(output, ClusterConfig(max_iterations=max_iterations))
    typer.echo(f"{output} ({output.stat().st_size / 1024:.0f} KB, up to {max_iterations} iterations)")
