"""Command line of the container of layout pod."""

import socket
from typing import Annotated

import typer

from components.contract.errors import InputError
from components.runtime.guard import exit_on_bad_input
from components.runtime.parent import Limits


def pod_command(
    run_uri: Annotated[str, typer.Argument(help="The run, <store>/runs/<name>, as prepare printed it.")] = "",
    limits: Annotated[str, typer.Option(help="Retries, backoff and timeouts, a JSON object.")] = "{}",
    listening: Annotated[
        int | None, typer.Option(help="Instead of a run: the file descriptor of the socket that will name it.")
    ] = None,
) -> None:
    """Sample, grade and train every iteration of a prepared run.

    A stage that crashes is started again. Started again after a kill it goes on after what is committed.
    """
    with exit_on_bad_input():
        from components.pod.supervisor import run_stages, serve

        if listening is not None:
            serve(socket.socket(fileno=listening))
        elif run_uri:
            run_stages(run_uri, Limits.from_json(limits))
        else:
            raise InputError("name the run, <store>/runs/<name>, as prepare printed it")


def main() -> None:
    """Run the command line."""
    typer.run(pod_command)
