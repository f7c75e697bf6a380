"""Helpers for what every command prints."""

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console


def say(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no highlighting, no wrapping."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def script(name: str) -> str:
    """Return how to call a command of this environment: its name if it is on PATH, else the path to it."""
    if shutil.which(name):
        return name
    path = Path(sys.executable).parent / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def moment_text(moment: datetime | None) -> str:
    """Return a time in this machine's time zone; a dash for None and for the epoch, which some servers send instead."""
    if moment is None or moment <= datetime.fromtimestamp(0, UTC):
        return "-"
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
