"""Output of the commands: lines, moments, and the display of a run in progress."""

import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from components.contract.printable import printable

_ROUND = re.compile(r"^(iteration|evaluation) \d+ ")


def say(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no highlighting, no wrapping, and no escape sequences."""
    console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


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


def duration_text(duration: timedelta) -> str:
    """Return a duration such as `45 s`, `12 min` or `3 h 05 min`."""
    seconds = max(0, int(duration.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


class LiveView:
    """Progress bars of the working stages on a terminal, with plain lines above them. A context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[stats]}", style="cyan"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def bars(self) -> list[Task]:
        """The bars, from top to bottom."""
        return self._progress.tasks

    def progress(self, event: dict[str, Any]) -> None:
        """Show a progress event of a stage.

        Several may be at work at the same time. The bar of a finished one disappears when something else begins, that
        of an unfinished one when the same stage goes on to another round.
        """
        label = event["label"]
        if label not in self._bars:
            tasks = {task.id: task for task in self.bars}
            for known, bar in list(self._bars.items()):
                if tasks[bar].finished or _stage_of(known) == _stage_of(label):
                    self._progress.remove_task(bar)
                    del self._bars[known]
            self._bars[label] = self._progress.add_task(label, total=event["total"], stats=event["unit"])
        # The total may shrink: updates end early where the samples are used up.
        stats = event["stats"] or event["unit"]
        self._progress.update(self._bars[label], completed=event["done"], total=event["total"], stats=stats)


def _stage_of(label: str) -> str:
    """Return the label of a stage's progress without its round."""
    return _ROUND.sub("", label)
