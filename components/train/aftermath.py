"""Reports of committed iterations: to whoever watches the run, and to MLflow."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from components.runtime.progress import emit
from components.store import Run
from components.tracking import sync


class Aftermath:
    """Does it beside the next iteration, which neither a slow server nor an absent one delays.

    A context manager, at whose end everything is done.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._next: Future[bool] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aftermath")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    def of(self, iteration: int) -> None:
        """Begin with what follows the commit of an iteration."""
        emit("iteration", number=iteration)
        # One that has not begun yet will send this iteration too.
        if self._next is None or self._next.running() or self._next.done():
            self._next = self._thread.submit(sync, self._run)
