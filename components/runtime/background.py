"""Work beside a block: a thread that looks at something now and then until the block is left."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """A context manager whose thread runs `_watch`; a daemon, which the end of the block does not wait for."""

    def __init__(self) -> None:
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=type(self).__name__, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()

    @abstractmethod
    def _watch(self) -> None:
        """Work, and return soon after `_left` is set."""
