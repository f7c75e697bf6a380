"""Command line of the launcher."""

from pathlib import Path
from typing import Annotated

import typer

from components.contract.errors import InputError
from components.runtime.guard import exit_on_bad_input
from components.trainjob.job_settings import load_settings


def trainjob_command(
    run_uri: Annotated[str, typer.Argument(help="The run, <store>/runs/<name>, as prepare printed it.")],
    settings: Annotated[Path, typer.Option(help="YAML: image and resources of the training pods.")],
    iteration: Annotated[
        int | None, typer.Option(min=1, help="Which iteration; it makes the policy of the same number.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Train every iteration of the run, with one job.")] = False,
) -> None:
    """Train on several nodes: launch a Kubeflow TrainJob, or find it, and follow it to its end.

    Works in a pod, or with a kubeconfig. After Ctrl-C the job runs on for 100 s; SIGTERM deletes it, unless the
    pod is being moved from its node.
    """
    with exit_on_bad_input():
        from components.trainjob.stage import follow_run, run_stage

        if follow == (iteration is not None):
            raise InputError("name an iteration with --iteration, or give --follow for all of them")
        if iteration is None:
            print(f"{follow_run(run_uri, load_settings(settings))} iterations are trained")
            return
        manifest = run_stage(run_uri, iteration, load_settings(settings))
        if manifest.facts["target_reached"]:
            print(f"target reached by policy {manifest.facts['policy_version']}")
        else:
            print(f"policy {manifest.facts['policy_version']} after optimizer step {manifest.facts['step']}")


def main() -> None:
    """Run the command line."""
    typer.run(trainjob_command)
