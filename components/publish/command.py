"""`python -m components.publish RUN_URI`: the command line of the publish stage."""

from typing import Annotated

import typer

from components.publish.stage import run_stage
from components.runtime.guard import exit_on_bad_input
from components.store import open_run


def publish_command(
    run_uri: Annotated[str, typer.Argument(help="<store>/runs/<name>, for example s3://bucket/rapid/runs/demo")],
) -> None:
    """Publish a run: its policies as model versions in MLflow, the best one's champion alias, an HTML report.

    Needs the rewards of the newest policy's held-out completions. The tracking server is MLFLOW_TRACKING_URI,
    else the run's tracking.uri, else an SQLite file beside a local store; where it does not answer the report is
    written all the same, and starting this again later registers the policies.
    """
    with exit_on_bad_input():
        run_stage(run_uri)
        run = open_run(run_uri)
        print(run.store.locate(f"{run.layout.report}/index.html"))


def main() -> None:
    """Run the command line."""
    typer.run(publish_command)
