"""Command line of the rollout container."""

from typing import Annotated

import typer

from components.runtime.guard import exit_on_bad_input
from components.store import open_run


def main(
    run_uri: Annotated[str, typer.Argument(help="The run, <store>/runs/<name>, as prepare printed it.")],
    round_: Annotated[
        str, typer.Option("--round", help="iteration-0001, evaluation-0004, or final: the newest policy.")
    ] = "final",
    shard: Annotated[int, typer.Option(help="Which of rollout.shards, from 0.")] = 0,
) -> None:
    """Sample completions of the current policy with vLLM and commit them as trajectories.

    Starting it again after a kill continues after the last whole part; a finished shard is left alone.
    """
    with exit_on_bad_input():
        from components.rollout.stage import run_stage

        manifest = run_stage(run_uri, open_run(run_uri).round(round_), shard)
        print(f"{manifest.facts['rows']} completions, {manifest.facts['completion_tokens']} tokens")


if __name__ == "__main__":
    typer.run(main)
