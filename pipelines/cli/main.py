"""Entry point of the `rapid` command: its sub-commands and how errors leave it."""

import re
from typing import Any

import typer
from typer.core import TyperCommand

from components.runtime.guard import exit_on_bad_input
from pipelines.cli.compile import compile_command
from pipelines.cli.demo import demo_command
from pipelines.cli.doctor import doctor_command
from pipelines.cli.report import report_command
from pipelines.cli.rescore import rescore_command
from pipelines.cli.rewards import rewards_command
from pipelines.cli.run import run_command
from pipelines.cli.status import status_command
from pipelines.cli.trajectories import trajectories_command


class _Command(TyperCommand):
    """Names required arguments in the usage line as everywhere else, without Typer's braces."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [re.sub(r"[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]


app = typer.Typer(
    name="rapid",
    help="Fine-tune small language models with reinforcement learning: large batches of vLLM rollouts, many "
    "importance-weighted updates on each (RAPID, arXiv 2510.03515), as a Kubeflow pipeline that also runs here.",
    epilog="Start with: rapid demo. Then: rapid doctor CONFIG, rapid run CONFIG.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("run", cls=_Command)(run_command)
app.command("status", cls=_Command)(status_command)
app.command("report", cls=_Command)(report_command)
app.command("trajectories", cls=_Command)(trajectories_command)
app.command("rewards", cls=_Command)(rewards_command)
app.command("rescore", cls=_Command)(rescore_command)
app.command("compile", cls=_Command)(compile_command)
app.command("doctor", cls=_Command)(doctor_command)
app.command("demo", cls=_Command)(demo_command)


def main() -> None:
    with exit_on_bad_input():
        app()


if __name__ == "__main__":
    main()
