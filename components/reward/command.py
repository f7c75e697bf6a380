"""The container's command line: `python -m components.reward RUN_URI --round iteration-0003 --shard 0`."""

from typing import Annotated

import typer

from components.contract.errors import InputError
from components.reward import stage
from components.runtime.guard import exit_on_bad_input
from components.runtime.progress import note
from components.store import open_run


def reward_command(
    run_uri: Annotated[str, typer.Argument(help="The run, <store>/runs/<name>, as prepare prints it.")],
    round_: Annotated[str, typer.Option("--round", help="iteration-0003, evaluation-0003 or final.")] = "final",
    shard: Annotated[
        list[int] | None, typer.Option(help="Shard of the rollout, from 0; by default 0, with --follow all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Grade every round of the run, as its worker.")] = False,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Run programs even where there is no sandbox.")] = False,
) -> None:
    """Grade one shard's trajectories with the graders of the run's configuration.

    A stopped command resumes when it is started again; a graded shard stays as it is.
    """
    with exit_on_bad_input():
        if follow:
            stage.follow(run_uri, shard, unsafe)
            return
        if shard and len(shard) > 1:
            raise InputError("name one --shard, or use --follow for all rounds of several")
        facts = stage.run_stage(run_uri, open_run(run_uri).round(round_), shard[0] if shard else 0, unsafe).facts
        note(f"{facts['rows']} completions graded, {facts['ok']} ok")


def main() -> None:
    """Run the command line."""
    typer.run(reward_command)
