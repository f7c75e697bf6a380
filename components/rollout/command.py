"""Command line of the rollout container."""

from typing import Annotated

import typer

from components.contract.errors import InputError
from components.runtime.guard import exit_on_bad_input
from components.runtime.scratch import own_temporary_files
from components.store import open_run


def rollout_command(
    run_uri: Annotated[str, typer.Argument(help="The run, <store>/runs/<name>, as prepare printed it.")],
    round_: Annotated[
        str, typer.Option("--round", help="iteration-0001, evaluation-0004, or final: the newest policy.")
    ] = "final",
    shard: Annotated[
        list[int] | None, typer.Option(help="Which of rollout.shards, from 0; by default 0, with --follow all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Sample every round of the run, as its worker.")] = False,
    share_gpu: Annotated[
        bool, typer.Option("--share-gpu", help="With --follow: leave the GPU's memory to others between rounds.")
    ] = False,
) -> None:
    """Sample completions of the current policy with vLLM and commit them as trajectories.

    Starting it again after a kill continues after the last whole part; a finished shard is left alone.
    """
    # vLLM leaves files of its own where it is killed.
    with exit_on_bad_input(), own_temporary_files("rapid-rollout-"):
        from components.rollout import stage

        if follow:
            stage.follow(run_uri, shard, share_gpu)
            return
        if shard and len(shard) > 1:
            raise InputError("name one --shard, or use --follow for all rounds of several")
        manifest = stage.run_stage(run_uri, open_run(run_uri).round(round_), shard[0] if shard else 0)
        print(f"{manifest.facts['rows']} completions, {manifest.facts['completion_tokens']} tokens")


def main() -> None:
    """Run the command line."""
    typer.run(rollout_command)
