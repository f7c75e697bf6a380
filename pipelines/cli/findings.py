"""Findings as a table."""

from rich.markup import escape
from rich.table import Table

from pipelines.checks.findings import Finding, Level

_STYLES = {Level.ok: "green", Level.warning: "yellow", Level.wrong: "red"}


def findings_table(findings: list[Finding]) -> Table:
    """One line a finding: its level, what was looked at, what was found and how to fix it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("what", no_wrap=True)
    table.add_column("found")
    for finding in findings:
        found = finding.found if not finding.fix else f"{finding.found}; {finding.fix}"
        table.add_row(f"[{_STYLES[finding.level]}]{finding.level.value}[/]", escape(finding.what), escape(found))
    return table
