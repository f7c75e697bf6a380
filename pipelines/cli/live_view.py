"""The display of a run in progress: bars on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from pipelines.cli.output import say


class LiveView:
    """Progress bars of the working stages, with lines above them. A context manager."""

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def line(self, text: str) -> None:
        say(self.console, text)

    def progress(self, event: dict[str, Any]) -> None:
        """Show a progress event of a stage; the bar of a finished stage disappears when the next one starts."""
        label = event["label"]
        if label not in self._bars:
            for known, task in list(self._bars.items()):
                if self._progress.tasks[self._progress.task_ids.index(task)].finished:
                    self._progress.remove_task(task)
                    del self._bars[known]
            self._bars[label] = self._progress.add_task(label, total=event["total"], stats=event["unit"])
        self._progress.update(self._bars[label], completed=event["done"], stats=event["stats"] or event["unit"])
