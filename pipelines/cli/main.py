"""Entry point of the `rapid` command: its sub-commands and how errors leave it."""

import typer

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

app = typer.Typer(
    name="rapid",
    help="Fine-tune small language models with reinforcement learning: large batches of vLLM rollouts, many "
    "importance-weighted updates on each (RAPID, arXiv 2510.03515), as a Kubeflow pipeline that also runs here.",
    epilog="Start with: rapid demo. Then: rapid doctor CONFIG, rapid run CONFIG.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("run")(run_command)
app.command("status")(status_command)
app.command("report")(report_command)
app.command("trajectories")(trajectories_command)
app.command("rewards")(rewards_command)
app.command("rescore")(rescore_command)
app.command("compile")(compile_command)
app.command("doctor")(doctor_command)
app.command("demo")(demo_command)


def main() -> None:
    with exit_on_bad_input():
        app()


if __name__ == "__main__":
    main()
