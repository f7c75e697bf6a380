"""The end of a stage's process: one line for bad input, a traceback for a defect."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from components.contract.errors import EXIT_BAD_INPUT, InputError
from components.contract.printable import printable
from components.runtime.progress import emit
from components.store.attempts import NoLongerWanted

TERMINATION_VARIABLE = "RAPID_TERMINATION_LOG"
"""Set where the exit status does not reach who asked (torchrun turns every status into 1): a file, by default none,
that then holds the message about bad input. Kubernetes reports the content of /dev/termination-log with the pod."""


_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def exit_on_bad_input() -> Iterator[None]:
    """Turn InputError and a full disk into one message and exit status 2, and Ctrl-C into status 130."""
    try:
        yield
    except InputError as error:
        _refuse(error)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        file = error.filename2 or error.filename  # of a copy, the second one is written
        where = f" for {file}" if file else ""
        _refuse(InputError(f"no space is left{where}; free some, or set TMPDIR to a directory with more"))
    except KeyboardInterrupt as interrupt:
        raise SystemExit(130) from interrupt


def _refuse(error: InputError) -> NoReturn:
    message = printable(" ".join(str(error).split()))
    path = os.environ.get(TERMINATION_VARIABLE)
    if path and not isinstance(error, NoLongerWanted):  # then nothing has failed
        with suppress(OSError):
            Path(path).write_text(message, encoding="utf-8")
    if not emit("error", message=message):
        print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_BAD_INPUT) from None
