"""`rapid schedule`: recurring fine-tunes, and what may be done with one."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from components.contract.resolve import load_config
from pipelines.cli.arguments import ConfigArgument, OverridesArgument
from pipelines.cli.compile import ClusterOption
from pipelines.cli.connection import connected
from pipelines.cli.submission import ServiceAccountOption, version_line
from pipelines.cluster.connection import Connection

_CREATE = "create"
ScheduleArgument = Annotated[
    str, typer.Argument(help="Name of a schedule, as rapid schedules lists it, or its ID.", metavar="NAME")
]


class ScheduleGroup(TyperGroup):
    """A group whose first word may be a configuration instead of a sub-command: `rapid schedule my.yaml`.

    A file that is named like a sub-command is written ./pause.
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
            help="When: minute hour day month weekday, or six fields with the second before them, in Kubeflow's time "
            "zone (UTC unless it was set up otherwise).",
            show_default=False,
        ),
    ] = None,
    every: Annotated[str | None, typer.Option(help="How often: 30m, 12h, 1d.", show_default=False)] = None,
    start: Annotated[
        str | None, typer.Option(help="Not before this time, such as 2026-12-01T02:00.", show_default=False)
    ] = None,
    end: Annotated[str | None, typer.Option(help="Not after this time.", show_default=False)] = None,
    max_concurrency: Annotated[
        int, typer.Option(min=1, max=10, help="Runs side by side; further ones wait until one has ended.")
    ] = 1,
    catch_up: Annotated[
        bool, typer.Option("--catch-up", help="Make up for every firing that was missed, not only for the last.")
    ] = False,
    cluster: ClusterOption = None,
    service_account: ServiceAccountOption = None,
) -> None:
    """Fine-tune again and again. Each firing is a run of its own, named after CONFIG's run and its time.

    With model.path=models:/NAME@champion each run starts from the champion of its moment and registers a version of
    NAME, which becomes champion only if it is better on the run's own held-out prompts. With a directory or pattern
    as data.train, each run takes the files that are there at its moment. The word create may be left out.

    Examples:

        rapid schedule my.yaml --cron "0 2 * * *" model.path=models:/adder@champion data.train=s3://bucket/prompts/

        rapid schedule my.yaml --every 12h --start 2026-12-01T02:00 --end 2027-01-01

        rapid schedule pause my-nightly
    """
    from pipelines.cli.following import say
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.config import load_cluster
    from pipelines.cluster.readiness import check_ready
    from pipelines.cluster.schedules import Firing, create_schedule, recurring
    from pipelines.cluster.timetable import in_words, trigger

    resolved = recurring(load_config(config, overrides or ()))
    settings = load_cluster(cluster, service_account=service_account).fitting(resolved)
    firing = Firing(trigger(cron, every, start, end), max_concurrency, catch_up)
    check_ready(resolved, settings)
    client = ClusterClient(connection)
    schedule, version = create_schedule(client, resolved, settings, firing)
    console, name = Console(), resolved.run.name
    say(console, version_line(version))
    say(console, f"schedule {name} ({in_words(schedule.trigger)}): {client.schedule_link(schedule.recurring_run_id)}")
    say(console, f"each run starts from {resolved.model.path}, on {resolved.data.train}")
    if resolved.tracking.enabled:
        say(console, f"and registers a version of the model {resolved.tracking.model_name}")
    say(console, f"see: rapid schedules, rapid runs; stop it with: rapid schedule pause {name}{connection.options}")


def _on_schedule(connection: Connection, name: str, act: Callable[[Any, str], None], done: str) -> None:
    from pipelines.cli.following import say
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.schedules import find_schedule

    client = ClusterClient(connection)
    found = find_schedule(client, name)
    act(client, found.recurring_run_id)
    say(Console(), f"schedule {found.display_name} {done}")


@connected
def pause_command(connection: Connection, name: ScheduleArgument) -> None:
    """Start no more runs until it is resumed. Runs that are going on go on.

    Example:

        rapid schedule pause my-nightly
    """
    _on_schedule(connection, name, lambda client, found: client.set_recurring_run(found, enabled=False), "is paused")


@connected
def resume_command(connection: Connection, name: ScheduleArgument) -> None:
    """Start runs again.

    Example:

        rapid schedule resume my-nightly
    """
    _on_schedule(connection, name, lambda client, found: client.set_recurring_run(found, enabled=True), "is enabled")


@connected
def delete_command(connection: Connection, name: ScheduleArgument) -> None:
    """Delete a schedule. Its runs stay, and one that is going on goes on.

    Example:

        rapid schedule delete my-nightly
    """
    _on_schedule(
        connection, name, lambda client, found: client.delete_recurring_run(found), "is deleted; its runs stay"
    )
