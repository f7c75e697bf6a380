"""`rapid doctor`: what is installed, what a run would use, what is wrong and how to mend it."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.contract.errors import EXIT_BAD_INPUT
from pipelines.checks.configuration import check_config
from pipelines.checks.findings import Finding, Level
from pipelines.checks.machine import check_machine, check_packages, check_sandbox
from pipelines.cli.arguments import OverridesArgument

_STYLES = {Level.ok: "green", Level.warning: "yellow", Level.wrong: "red"}


def doctor_command(
    config: Annotated[
        str | None,
        typer.Argument(help="YAML configuration whose paths and services are checked too.", metavar="CONFIG"),
    ] = None,
    overrides: OverridesArgument = None,
) -> None:
    """Say what is installed, what a run would use, what is wrong and how to mend it.

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


def findings_table(findings: list[Finding]) -> Table:
    """One line a finding: its level, what was looked at, what was found and how to mend it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("what", no_wrap=True)
    table.add_column("found")
    for finding in findings:
        found = finding.found if not finding.mend else f"{finding.found}; {finding.mend}"
        table.add_row(f"[{_STYLES[finding.level]}]{finding.level.value}[/]", escape(finding.what), escape(found))
    return table
