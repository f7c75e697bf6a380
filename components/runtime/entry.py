"""A command from its first import on: a signal ends it without a traceback, with the status 128 + number."""

import importlib
import signal
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_arrived: list[int] = []


def run_command(module: str) -> None:
    """Import a module and call its `main`; SIGTERM and SIGHUP end it as Ctrl-C does.

    Raises:
        SystemExit: as `main` does, or 128 + its number after a signal.
    """
    try:
        for number in _ENDING:
            # One that is ignored, as SIGHUP under nohup, stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end)
        importlib.import_module(module).main()
    except BaseException:
        if not _arrived:
            raise
    if _arrived:
        raise SystemExit(128 + _arrived[0])


def _end(number: int, _frame: FrameType | None) -> None:
    # Cleaning up takes a moment, and a second signal would leave it half done.
    for later in _ENDING:
        signal.signal(later, signal.SIG_IGN)
    _arrived.append(number)
    raise KeyboardInterrupt
