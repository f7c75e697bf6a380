"""Entry point of the `rapid` command."""

import re
from typing import Any

import typer
from typer.core import TyperCommand

from components.runtime.guard import exit_on_bad_input
from pipelines.cli.cluster_run_commands import cancel_command, resume_command, runs_command
from pipelines.cli.doctor_command import doctor_command
from pipelines.cli.export_command import export_command
from pipelines.cli.logs_command import logs_command
from pipelines.cli.rescore_command import rescore_command
from pipelines.cli.run_commands import demo_command, run_command
from pipelines.cli.schedule_commands import (
    ScheduleGroup,
    create_command,
    delete_command,
    pause_command,
    schedules_command,
)
from pipelines.cli.schedule_commands import resume_command as resume_schedule_command
from pipelines.cli.stored_run_commands import report_command, rewards_command, status_command, trajectories_command
from pipelines.cli.submit_commands import compile_command, submit_command


class _Command(TyperCommand):
    """A command whose usage line shows required arguments without Typer's braces."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [re.sub(r"[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]


schedule = typer.Typer(
    cls=ScheduleGroup,
    help="Create or change a schedule: recurring fine-tunes on a cluster.\n\n"
    "Examples:\n\n"
    '    rapid schedule my.yaml --cron "0 2 * * *" model.path=models:/adder@champion data.train=s3://bucket/prompts/\n\n'
    "    rapid schedule my.yaml --every 12h\n\n"
    "    rapid schedule pause my-nightly",
    epilog="Options: rapid schedule create --help. List: rapid schedules.",
    no_args_is_help=True,
)
schedule.command("create", cls=_Command, hidden=False)(create_command)
schedule.command("pause", cls=_Command)(pause_command)
schedule.command("resume", cls=_Command)(resume_schedule_command)
schedule.command("delete", cls=_Command)(delete_command)

app = typer.Typer(
    name="rapid",
    help="Fine-tune small language models with reinforcement learning (RAPID, arXiv 2510.03515): sample large batches "
    "with vLLM and take many importance-weighted updates on each, in a Kubeflow pipeline or on this machine.",
    epilog="Start with rapid demo. Then: rapid doctor CONFIG, rapid run CONFIG; on a cluster: rapid submit CONFIG.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("run", cls=_Command)(run_command)
app.command("status", cls=_Command)(status_command)
app.command("logs", cls=_Command)(logs_command)
app.command("report", cls=_Command)(report_command)
app.command("trajectories", cls=_Command)(trajectories_command)
app.command("rewards", cls=_Command)(rewards_command)
app.command("rescore", cls=_Command)(rescore_command)
app.command("export", cls=_Command)(export_command)
app.command("submit", cls=_Command)(submit_command)
app.command("runs", cls=_Command)(runs_command)
app.command("cancel", cls=_Command)(cancel_command)
app.command("resume", cls=_Command)(resume_command)
app.add_typer(schedule, name="schedule")
app.command("schedules", cls=_Command)(schedules_command)
app.command("compile", cls=_Command)(compile_command)
app.command("doctor", cls=_Command)(doctor_command)
app.command("demo", cls=_Command)(demo_command)


def main() -> None:
    with exit_on_bad_input():
        app()


if __name__ == "__main__":
    main()
