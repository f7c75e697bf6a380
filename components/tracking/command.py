"""`python -m components.tracking RUN_URI`: send to MLflow what was not yet sent."""

from typing import Annotated

import typer

from components.runtime.guard import exit_on_bad_input
from components.store import open_run
from components.tracking.sync import sync


def tracking_command(
    run_uri: Annotated[str, typer.Argument(help="<store>/runs/<name>, for example s3://bucket/rapid/runs/demo")],
) -> None:
    """Send to MLflow what a run has committed and was not yet sent.

    The server is MLFLOW_TRACKING_URI, else the run's tracking.uri, else an SQLite file beside a local store.
    Exits with status 1 when the server could not be reached; nothing is lost, start it again later.
    """
    with exit_on_bad_input():
        raise SystemExit(0 if sync(open_run(run_uri)) else 1)


def main() -> None:
    """Run the command line."""
    typer.run(tracking_command)
