"""Commands that are executed to their end although their processes are killed."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from components.contract.errors import EXIT_BAD_INPUT

_LOOK_SECONDS = 0.05
_MOST_SECONDS = 1800.0
_FAILURES = 3
"""A command that fails so often, without a kill in between, has not survived."""

_LEFT_SECONDS = 20.0
_CACHES = ("torchinductor_", "rapid-compiled-")
"""Kernels that PyTorch has compiled, which stay for the next start."""

Command = list[str]


@dataclass
class Outcome:
    """The way that the commands of a trial went.

    Attributes:
        faults: how often what was disturbed.
        starts: how often commands were started.
        problem: why they did not reach their end; empty where they did.
        left: processes and files that were still there some time after the end.
    """

    faults: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    problem: str = ""
    left: list[str] = field(default_factory=list)


class _Commands:
    """Commands that run side by side; one that fails is started again."""

    def __init__(self, commands: Sequence[Command], execution: "Execution") -> None:
        self._execution = execution
        self._running = [(command, execution.start(command)) for command in commands]
        self.failures = 0
        """Since the last disturbance."""

    def are_running(self) -> bool:
        """Start again what has failed; return whether anything is to be waited for."""
        for place, (command, process) in enumerate(self._running):
            if status := process.poll():
                self.failures += 1
                if self.failures > _FAILURES:
                    raise _GivenUp(f"exit status {status} after nothing was disturbed: {' '.join(command[2:])}")
                if status == EXIT_BAD_INPUT:
                    self._execution.repair()
                self._running[place] = (command, self._execution.start(command))
        return any(process.poll() is None for _, process in self._running)

    def roots(self) -> list[psutil.Process]:
        return [psutil.Process(process.pid) for _, process in self._running if process.poll() is None]


class _GivenUp(Exception):
    """The commands of a trial do not reach their end."""


@dataclass
class Execution:
    """Executes commands while their processes are killed.

    Attributes:
        log: receives their output.
        temporary: the directory for their temporary files.
        environment: further variables.
        prepare: the command that clears a failure that a worker has left in the run; None where the commands do it.
        copies: commands of workers of which now and then one is started beside the first.
    """

    log: Path
    temporary: Path
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Command | None = None
    copies: Sequence[Command] = ()
    outcome: Outcome = field(default_factory=Outcome)
    _copies: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(self, command: Command, temporary: Path | None = None) -> "subprocess.Popen[bytes]":
        self.outcome.starts += 1
        with self.log.open("ab") as log:
            log.write(f"--- {' '.join(command[2:])}\n".encode())
            log.flush()
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment, "TMPDIR": str(temporary or self.temporary)},
            )

    def repair(self) -> None:
        if self.prepare:
            self.start(self.prepare).wait()

    def run(
        self, phases: Sequence[Sequence[Command]], kills: Sequence[int], interval: float, chance: random.Random
    ) -> Outcome:
        """Execute commands in turn, those of a phase side by side.

        Args:
            kills: the most disturbances of each phase.
            interval: mean seconds between two of them.
        """
        self.temporary.mkdir(exist_ok=True)
        before = {process.pid for process in psutil.Process().children(recursive=True)}
        end = time.monotonic() + _MOST_SECONDS
        try:
            for phase, most in zip(phases, kills, strict=True):
                self._run_phase(_Commands(phase, self), self.outcome.faults.total() + most, interval, chance, end)
        except _GivenUp as given_up:
            self.outcome.problem = str(given_up)
        for copy in self._copies:
            copy.terminate()  # not a fault: it has to leave nothing
            copy.wait()
        self.outcome.left = self._left(before)
        return self.outcome

    def _run_phase(self, commands: _Commands, most: int, interval: float, chance: random.Random, end: float) -> None:
        moment = time.monotonic() + chance.uniform(0, 2 * interval)
        while commands.are_running():
            time.sleep(_LOOK_SECONDS)
            if time.monotonic() > end:
                raise _GivenUp(f"no end within {_MOST_SECONDS / 60:.0f} min")
            if self.outcome.faults.total() < most and time.monotonic() > moment:
                self._disturb(commands, chance)
                moment = time.monotonic() + chance.uniform(0, 2 * interval)

    def _disturb(self, commands: _Commands, chance: random.Random) -> None:
        if self.copies and chance.random() < 0.1:
            # As in another pod: nobody starts it again, so that what a kill leaves of it stays.
            elsewhere = self.temporary.with_name("tmp-of-copies")
            elsewhere.mkdir(exist_ok=True)
            self._copies.append(self.start(chance.choice(self.copies), elsewhere))
            self.outcome.faults["second copy"] += 1
        elif victim := _kill_one(commands.roots(), self._copies, chance):
            self.outcome.faults[victim] += 1
        commands.failures = 0

    def _left(self, before: set[int]) -> list[str]:
        """Return what is left some time after the end, and kill the processes among it."""
        end = time.monotonic() + (0 if self.outcome.problem else _LEFT_SECONDS)
        while (left := _below(before)) and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
        names = [f"process {_module(process)}" for process in left]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        while _below(before):
            time.sleep(_LOOK_SECONDS)
        return names + sorted(p.name for p in self.temporary.iterdir() if not p.name.startswith(_CACHES))


def _kill_one(
    roots: list[psutil.Process], copies: "list[subprocess.Popen[bytes]]", chance: random.Random
) -> str | None:
    """Kill a command or a process below it; return its name, None where it has just ended."""
    with suppress(psutil.NoSuchProcess, IndexError):
        tops = roots + [psutil.Process(copy.pid) for copy in copies if copy.poll() is None]
        victim = chance.choice([process for top in tops for process in (top, *top.children(recursive=True))])
        name = _module(victim)
        victim.send_signal(signal.SIGKILL)
        return name
    return None


def _below(before: set[int]) -> list[psutil.Process]:
    """Return the processes below this one that were not there before, and reap those of them that have ended."""
    living = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.pid in before:
                continue
            if process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
            elif process.ppid() == os.getpid():
                os.waitpid(process.pid, os.WNOHANG)
    return living


def _module(process: psutil.Process) -> str:
    try:
        words = process.cmdline()
    except psutil.Error:
        return "another process"
    if "-m" not in words[:-1]:
        return "another process"
    name = words[words.index("-m") + 1].removeprefix("components.")
    return name if name != "runtime.warm" else words[words.index("-m") + 2]
