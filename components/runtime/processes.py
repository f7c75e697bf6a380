"""Child processes that report to their parent and die with it, and what a parent needs to see of them."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from components.runtime.child_output import ChildOutput
from components.store.attempt_logs import LogPlace

PARENT_VARIABLE = "RAPID_PARENT_FD"
"""Set for a child: the file descriptor of the pipe to its parent."""

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that a parent passes on to its children before it ends."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_prctl = ctypes.CDLL(None).prctl


@dataclass(frozen=True)
class Child:
    """A command that a parent process keeps running to its end.

    Attributes:
        name: stands for it in messages.
        log: where its output is kept; nowhere if None.
    """

    name: str
    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    log: LogPlace | None = None


@dataclass(frozen=True)
class Started:
    """A process of a child, the parent's end of the pipe over which it reports, and its output."""

    process: "subprocess.Popen[bytes]"
    reports: int
    output: ChildOutput


def start_child(child: Child, stdin: IO[bytes] | int = subprocess.DEVNULL) -> Started:
    """Start a child, which dies with the thread that calls this; its output is printed on."""
    ours, its = os.pipe()
    os.set_blocking(ours, False)
    output = ChildOutput()
    process = subprocess.Popen(
        child.words,
        stdin=stdin,
        stdout=output.stdout,
        stderr=output.stderr,
        env={**os.environ, **child.environment, PARENT_VARIABLE: str(its)},
        pass_fds=(its,),
        preexec_fn=dies_with(os.getpid()),
    )
    os.close(its)
    output.follow()
    if child.log:
        output.log.keep(child.log)
    return Started(process, ours, output)


def dies_with(parent: int) -> Callable[[], None]:
    """Return what a child does before its program starts, so that the kernel kills it with its parent."""

    def prepare() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before that call
            os._exit(1)

    return prepare


def tell_parent(state: Literal["working", "committed", "waiting"]) -> None:
    """Report to the parent process: a round begins, is committed, or needs another stage. Nothing without a parent."""
    if number := os.environ.get(PARENT_VARIABLE):
        with suppress(OSError):  # it is gone, and this process ends with it
            os.write(int(number), f"{state}\n".encode())


def adopt_orphans() -> None:
    """Become the parent of what descendants of this process leave behind."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


@contextmanager
def arriving_signals() -> Iterator[int]:
    """Yield a file descriptor from which the numbers of arriving signals are read: those passed on, and SIGCHLD."""
    ours, kernels = os.pipe()
    for descriptor in (ours, kernels):
        os.set_blocking(descriptor, False)
    woken = signal.set_wakeup_fd(kernels, warn_on_full_buffer=False)
    # One that is ignored, as SIGHUP under nohup, stays so.
    heeded = [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, _ignore) for number in (*heeded, signal.SIGCHLD)}
    try:
        yield ours
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(ours)
        os.close(kernels)


def ended_processes() -> Iterator[tuple[int, int]]:
    """Yield (process, exit status) of every child that has ended, adopted ones too; -9 for one ended by SIGKILL."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def kill_children(spared: set[int]) -> None:
    """Kill every child of this process but `spared` ones, with all that then becomes its child."""
    while condemned := set(_children()) - spared:
        for pid in condemned:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in condemned:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            # The name, in parentheses, may contain anything.
            state = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(state[1]) == os.getpid():
                yield int(path.parent.name)


def _ignore(*_: object) -> None:
    return
