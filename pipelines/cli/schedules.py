"""`rapid schedules`: the recurring fine-tunes."""

from itertools import islice
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from pipelines.cli.connection import connected
from pipelines.cluster.connection import Connection

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

_LOOKED_AT = 200


@connected
def schedules_command(connection: Connection) -> None:
    """List the schedules: when they fire, and what became of their last run.

    Example:

        rapid schedules --endpoint https://kubeflow.example.com/pipeline
    """
    from pipelines.cli.following import say
    from pipelines.cli.tables import moment_text
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import run_name, state_word
    from pipelines.cluster.schedules import state_word as schedule_word
    from pipelines.cluster.timetable import bounds, in_words

    client, console = ClusterClient(connection), Console()
    schedules = list(client.recurring_runs())
    if not schedules:
        say(console, f"{client.address} has no schedules; make one with: rapid schedule CONFIG --every 12h")
        return
    last: dict[str | None, V2beta1Run] = {}
    for run in islice(client.runs(), _LOOKED_AT):
        last.setdefault(run.recurring_run_id, run)
    table = Table(box=None, pad_edge=False)
    for column in ("schedule", "state", "when", "from", "until", "at once", "last run"):
        table.add_column(column, overflow="fold")
    for schedule in schedules:
        begins, ends = bounds(schedule.trigger)
        run = last.get(schedule.recurring_run_id)
        table.add_row(
            schedule.display_name,
            schedule_word(schedule),
            in_words(schedule.trigger),
            moment_text(begins),
            moment_text(ends),
            str(schedule.max_concurrency or 1),
            f"{run_name(run)} {state_word(run)}" if run else "-",
        )
    console.print(table)
