"""`rapid schedule` and `rapid schedules`: recurring fine-tunes."""

from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from components.contract.resolve import load_config
from pipelines.cli.arguments import ConfigArgument, OverridesArgument, connected
from pipelines.cli.output import moment_text, say
from pipelines.cli.submit_commands import ClusterOption, ServiceAccountOption, checked_cluster, version_line
from pipelines.cluster.connection import Connection

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

_CREATE = "create"
_SEARCHED_RUNS, _SHOWN_RUNS = 200, 3
ScheduleArgument = Annotated[
    str, typer.Argument(help="Name or ID of a schedule; rapid schedules lists them.", metavar="NAME")
]


class ScheduleGroup(TyperGroup):
    """A group whose first word may be a configuration instead of a sub-command: `rapid schedule my.yaml`.

    A configuration file that has the name of a sub-command is written ./pause.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        wants_help = not args or args[0] in ctx.help_option_names
        if not wants_help and args[0] not in self.commands:
            args = [_CREATE, *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return ["CONFIG [KEY=VALUE]... (--cron TEXT | --every TEXT) | pause NAME | resume NAME | delete NAME"]


@connected
def create_command(
    connection: Connection,
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    cron: Annotated[
        str | None,
        typer.Option(
            help="When to run: minute hour day month weekday, optionally preceded by the second, in Kubeflow's time "
            "zone (UTC unless configured otherwise).",
            show_default=False,
        ),
    ] = None,
    every: Annotated[str | None, typer.Option(help="How often to run: 30m, 12h, 1d.", show_default=False)] = None,
    start: Annotated[
        str | None, typer.Option(help="Start no run before this time, such as 2026-12-01T02:00.", show_default=False)
    ] = None,
    end: Annotated[str | None, typer.Option(help="Start no run after this time.", show_default=False)] = None,
    max_concurrency: Annotated[
        int, typer.Option(min=1, max=10, help="Most runs at a time; further ones wait until one has ended.")
    ] = 1,
    catch_up: Annotated[
        bool, typer.Option("--catch-up", help="Make up for every missed start, not only for the last one.")
    ] = False,
    cluster: ClusterOption = None,
    service_account: ServiceAccountOption = None,
) -> None:
    """Create a schedule. Each start is a run of its own: my-nightly-20261201-0200-fbd2cb2e for CONFIG's run my-nightly.

    That is the time it was due (UTC) and the first digits of its ID in Kubeflow.

    With model.path=models:/NAME@champion each run starts from the current champion and registers its policies as
    versions of NAME; the best becomes champion only if it is better on the run's held-out prompts. With a directory or
    a pattern as data.train, each run reads the files that exist when it starts. The word create may be left out.

    Examples:

        rapid schedule my.yaml --cron "0 2 * * *" model.path=models:/adder@champion data.train=s3://bucket/prompts/

        rapid schedule my.yaml --every 12h --start 2026-12-01T02:00 --end 2027-01-01

        rapid schedule pause my-nightly
    """
    from pipelines.cluster import schedules
    from pipelines.cluster.client import ClusterClient

    resolved = schedules.recurring_config(load_config(config, overrides or ()))
    recurrence = schedules.Recurrence(schedules.make_trigger(cron, every, start, end), max_concurrency, catch_up)
    settings = checked_cluster(resolved, cluster, service_account)
    client = ClusterClient(connection)
    schedule, version = schedules.create_schedule(client, resolved, settings, recurrence)
    console, name = Console(), resolved.run.name
    when = schedules.describe_trigger(schedule.trigger)
    say(console, version_line(version))
    say(console, f"schedule {name} ({when}): {client.schedule_link(schedule.recurring_run_id)}")
    say(console, f"each run starts from {resolved.model.path} and trains on {resolved.data.train}")
    if resolved.tracking.enabled:
        say(console, f"and registers versions of the model {resolved.tracking.model_name}")
    say(console, f"list: rapid schedules, rapid runs; pause it with: rapid schedule pause {name}{connection.options}")


def _on_schedule(connection: Connection, name: str, action: Callable[[Any, str], None], outcome: str) -> None:
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.schedules import find_schedule

    client = ClusterClient(connection)
    found = find_schedule(client, name)
    action(client, found.recurring_run_id)
    say(Console(), f"schedule {found.display_name} {outcome}")


@connected
def pause_command(connection: Connection, name: ScheduleArgument) -> None:
    """Pause a schedule. Runs that have started continue.

    Example:

        rapid schedule pause my-nightly
    """
    _on_schedule(connection, name, lambda client, found: client.set_recurring_run(found, enabled=False), "is paused")


@connected
def resume_command(connection: Connection, name: ScheduleArgument) -> None:
    """Resume a paused schedule.

    Example:

        rapid schedule resume my-nightly
    """
    _on_schedule(connection, name, lambda client, found: client.set_recurring_run(found, enabled=True), "is enabled")


@connected
def delete_command(connection: Connection, name: ScheduleArgument) -> None:
    """Delete a schedule. Its runs are kept, and runs that have started continue.

    Example:

        rapid schedule delete my-nightly
    """
    _on_schedule(
        connection, name, lambda client, found: client.delete_recurring_run(found), "is deleted; its runs are kept"
    )


@connected
def schedules_command(connection: Connection) -> None:
    """List the schedules with their triggers, their last runs, and why those failed.

    Example:

        rapid schedules --endpoint https://kubeflow.example.com/pipeline
    """
    from pipelines.cli.cluster_run_view import failure_reason
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.runs import run_name, run_state, was_cancelled
    from pipelines.cluster.schedules import describe_trigger, schedule_state, trigger_bounds

    client, console = ClusterClient(connection), Console()
    schedules = list(client.recurring_runs())
    if not schedules:
        say(console, f"{client.address} has no schedules; create one with: rapid schedule CONFIG --every 12h")
        return
    runs: dict[str | None, list[V2beta1Run]] = defaultdict(list)
    for run in islice(client.runs(), _SEARCHED_RUNS):
        runs[run.recurring_run_id].append(run)
    for schedule in schedules:
        first, last = trigger_bounds(schedule.trigger)
        parts = [
            schedule_state(schedule),
            describe_trigger(schedule.trigger),
            *([f"from {moment_text(first)}"] if first else []),
            *([f"until {moment_text(last)}"] if last else []),
            *([f"{schedule.max_concurrency} at a time"] if int(schedule.max_concurrency or 1) > 1 else []),
        ]
        say(console, f"{schedule.display_name}: {', '.join(parts)}")
        for run in runs[schedule.recurring_run_id][:_SHOWN_RUNS]:
            say(console, f"  {run_name(run)} {run_state(run)}, {moment_text(run.created_at)}")
            if run.state == "FAILED" and not was_cancelled(run):
                say(console, f"    {failure_reason(client, run)}")
