"""The container's command line: `python -m components.prepare CONFIG.yaml [key=value ...]`."""

from pathlib import Path
from typing import Annotated

import typer

from components.contract.job import Job
from components.contract.resolve import load_config
from components.prepare.stage import run_stage
from components.runtime.guard import exit_on_bad_input


def prepare_command(
    config: Annotated[Path, typer.Argument(help="Configuration as YAML.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to it, such as train.learning_rate=2e-5.")
    ] = None,
    job: Annotated[str, typer.Option(help="Kubeflow's ID of the pipeline run that this is part of.")] = "",
    job_name: Annotated[str, typer.Option(help="What Kubeflow calls it.")] = "",
) -> None:
    """Make a run: check the data, tokenise the prompts, bring the base policy into the store.

    Prints the run's URI, which the other stages take. Started again it goes on where it was stopped.
    """
    with exit_on_bad_input():
        print(run_stage(load_config(config, overrides or ()), Job(job, job_name)).run_uri)


def main() -> None:
    """Run the command line."""
    typer.run(prepare_command)
