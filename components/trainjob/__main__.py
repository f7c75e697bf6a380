"""Command line of the launcher."""

from pathlib import Path
from typing import Annotated

import typer

from components.runtime.guard import exit_on_bad_input
from components.trainjob.job_settings import load_settings


def main(
    run_uri: Annotated[str, typer.Argument(help="The run, <store>/runs/<name>, as prepare printed it.")],
    iteration: Annotated[int, typer.Option(min=1, help="Which iteration; it makes the policy of the same number.")],
    settings: Annotated[Path, typer.Option(help="YAML: image and resources of the training pods.")],
) -> None:
    """Train an iteration on several nodes: launch a Kubeflow TrainJob, or find it, and follow it to its end.

    Works in a pod, or with a kubeconfig. Ctrl-C leaves the job running; SIGTERM deletes it, unless the pod is being
    moved from its node.
    """
    with exit_on_bad_input():
        from components.trainjob.stage import run_stage

        manifest = run_stage(run_uri, iteration, load_settings(settings))
        if manifest.facts["target_reached"]:
            print(f"target reached by policy {manifest.facts['policy_version']}")
        else:
            print(f"policy {manifest.facts['policy_version']} after optimizer step {manifest.facts['step']}")


if __name__ == "__main__":
    typer.run(main)
