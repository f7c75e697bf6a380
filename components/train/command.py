"""Command line of the training container."""

from typing import Annotated

import typer

from components.contract.errors import InputError
from components.runtime.guard import exit_on_bad_input


def train_command(
    run_uri: Annotated[str, typer.Argument(help="The run, <store>/runs/<name>, as prepare printed it.")],
    iteration: Annotated[
        int | None, typer.Option(min=1, help="Which iteration; it makes the policy of the same number.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Train every iteration of the run, as its worker.")] = False,
    share_gpu: Annotated[
        bool, typer.Option("--share-gpu", help="With --follow: leave the GPU's memory to others between iterations.")
    ] = False,
) -> None:
    """Update the policy on an iteration's scored trajectories and commit the next policy.

    Where the policy has reached loop.target_reward, no new one is made. Started again after a kill it makes the same
    policy; a finished iteration stays as it is.
    """
    with exit_on_bad_input():
        from components.train import stage

        if follow:
            stage.follow(run_uri, share_gpu)
            return
        if iteration is None:
            raise InputError("name the --iteration to train, or use --follow for all of the run")
        manifest = stage.run_stage(run_uri, iteration)
        if manifest.facts["target_reached"]:
            print(f"target reached by policy {manifest.facts['policy_version']}")
        else:
            print(f"policy {manifest.facts['policy_version']} after optimizer step {manifest.facts['step']}")


def main() -> None:
    """Run the command line."""
    typer.run(train_command)
