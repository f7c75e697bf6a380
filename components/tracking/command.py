"""`python -m components.tracking RUN_URI`: send to MLflow what was not yet sent."""

from typing import Annotated

import typer

from components.results import best_policy, read_run
from components.runtime.guard import exit_on_bad_input
from components.store import Run, open_run
from components.tracking.models import register_once
from components.tracking.sync import is_tracked_here, sync


def tracking_command(
    run_uri: Annotated[str, typer.Argument(help="<store>/runs/<name>, for example s3://bucket/rapid/runs/demo")],
) -> None:
    """Send to MLflow what a run has committed and was not yet sent; once it is published, its model versions too.

    The server is MLFLOW_TRACKING_URI, else the run's tracking.uri, else an SQLite file beside a local store.
    Exits with status 1 when the server could not be reached; nothing is lost, start it again later.
    """
    with exit_on_bad_input():
        run = open_run(run_uri)
        raise SystemExit(0 if sync(run) and _register(run) else 1)


def _register(run: Run) -> bool:
    """Register the policies of a published run, unless that is done; return False if the server did not answer."""
    if not (run.published() and is_tracked_here(run)):
        return True
    results = read_run(run)
    return register_once(run, results, best_policy(run, results)) is not None


def main() -> None:
    """Run the command line."""
    typer.run(tracking_command)
