"""A command from its first import on: a signal ends it with one line and the status 128 + number, not a traceback."""

import importlib
import signal
import sys
import time
from contextlib import suppress
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CLEANING_SECONDS = 5.0
_arrived: list[tuple[int, float]] = []
"""Signals that were raised as KeyboardInterrupt, and when."""


def run_command(module: str) -> None:
    """Import a module and call its `main`; SIGTERM and SIGHUP end it as Ctrl-C does.

    Prints a line about the signal, unless `main` has handled it and raises SystemExit `from None`.

    Raises:
        SystemExit: as `main` does, or 128 + its number after a signal.
    """
    handled = False
    try:
        for number in _ENDING:
            # One that is ignored, as SIGHUP under nohup, stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end)
        importlib.import_module(module).main()
    except BaseException as error:
        if not _arrived:
            raise
        handled = isinstance(error, SystemExit) and bool(error.code) and not _shows_interrupt(error)
    if _arrived:
        last, _ = _arrived[-1]
        if not handled:
            with suppress(OSError):  # the terminal is gone
                print(f"stopped by {signal.Signals(last).name}", file=sys.stderr, flush=True)
        raise SystemExit(128 + last)


def _end(number: int, _frame: FrameType | None) -> None:
    # Cleaning up takes a moment, and a second signal would leave it half done. One after that is heeded again, because
    # an exception is lost where it is raised in a destructor.
    now = time.monotonic()
    if _arrived and now - _arrived[-1][1] < _CLEANING_SECONDS:
        return
    _arrived.append((number, now))
    raise KeyboardInterrupt


def _shows_interrupt(error: BaseException | None) -> bool:
    """Return whether a traceback of an error would show a KeyboardInterrupt."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return error is not None
