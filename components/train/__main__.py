"""Command line of the training container."""

from typing import Annotated

import typer

from components.runtime.guard import exit_on_bad_input


def main(
    run_uri: Annotated[str, typer.Argument(help="The run, <store>/runs/<name>, as prepare printed it.")],
    iteration: Annotated[int, typer.Option(min=1, help="Which iteration; it makes the policy of the same number.")],
) -> None:
    """Update the policy on an iteration's scored trajectories and commit the next policy.

    Where the policy has reached loop.target_reward, no new one is made. Started again after a kill it makes the same
    policy; a finished iteration stays as it is.
    """
    with exit_on_bad_input():
        from components.train.stage import run_stage

        manifest = run_stage(run_uri, iteration)
        if manifest.facts["target_reached"]:
            print(f"target reached by policy {manifest.facts['policy_version']}")
        else:
            print(f"policy {manifest.facts['policy_version']} after optimizer step {manifest.facts['step']}")


if __name__ == "__main__":
    typer.run(main)
