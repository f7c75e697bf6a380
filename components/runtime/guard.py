"""How a stage's process ends: one line for bad input, a traceback for a defect."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from components.contract.errors import EXIT_BAD_INPUT, InputError
from components.runtime.progress import emit


@contextmanager
def exit_on_bad_input() -> Iterator[None]:
    """Turn InputError into one message and exit status 2, and Ctrl-C into status 130."""
    try:
        yield
    except InputError as error:
        message = " ".join(str(error).split())
        if not emit("error", message=message):
            print(f"error: {message}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_BAD_INPUT) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
