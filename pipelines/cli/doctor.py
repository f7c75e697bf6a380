"""`rapid doctor`: what is installed, what a run would use, what is wrong and how to fix it."""

from typing import Annotated

import typer
from rich.console import Console

from components.contract.errors import EXIT_BAD_INPUT
from pipelines.checks.configuration import check_config
from pipelines.checks.findings import Level
from pipelines.checks.machine import check_machine, check_packages, check_sandbox
from pipelines.cli.arguments import OverridesArgument
from pipelines.cli.findings import findings_table


def doctor_command(
    config: Annotated[
        str | None,
        typer.Argument(help="YAML configuration whose paths and services are checked too.", metavar="CONFIG"),
    ] = None,
    overrides: OverridesArgument = None,
) -> None:
    """Say what is installed, what a run would use, what is wrong and how to fix it.

    Exits with status 2 when something would keep a run from working.

    Example:

        rapid doctor my.yaml reward=code
    """
    findings = [*check_packages(), *check_machine(), *check_sandbox()]
    if config:
        findings += check_config(config, overrides or ())
    Console().print(findings_table(findings))
    if any(finding.level is Level.wrong for finding in findings):
        raise typer.Exit(EXIT_BAD_INPUT)
