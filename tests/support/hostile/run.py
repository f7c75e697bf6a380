"""Grades every hostile program as the current user, and prints the outcomes and the traces that are left.

    python -m tests.support.hostile.run '{"mode": "landlock", "processes": 1}'

Prints `{"outcomes": {name: [status, reward, detail]}, "traces": [text]}`; traces are what no program may leave.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import psutil

from components.contract.reward_config import GraderSpec, SandboxSection
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask
from components.sandbox.layers import uids_for
from tests.support.hostile import CHEATING, ESCAPES, EXHAUSTION

LIMITS = {"seconds": 0.8, "cpu_seconds": 1, "memory_mib": 256, "file_mib": 4, "output_kib": 64}
PATIENCE = 8.0
"""Seconds for an attempt that did not end within its limit."""

GRADER_SECONDS = 10.0
ESCAPED = json.dumps(["assert attack() == 'escaped'"])
ADDED = json.dumps(["assert add(2, 3) == 5", "assert add(10, 20) == 30"])


class World:
    """Targets outside the sandbox: a file, listeners, a process, a secret. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rapid-canary-")))
        folder.chmod(0o755)
        self.canary = folder / "canary"
        self.canary.write_text("untouched")
        self.before = self._canary_state()
        self.secret = "SECRET" + secrets.token_hex(8)
        os.environ["AWS_SECRET_ACCESS_KEY"] = self.secret
        self.victim = self._stack.enter_context(subprocess.Popen(["sleep", "1000"]))
        self._stack.callback(self.victim.kill)
        abstract = f"rapid-{secrets.token_hex(8)}"
        kinds = {
            "TCP": (socket.AF_INET6, socket.SOCK_STREAM, ("::", 0)),
            "UDP": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "UNIX": (socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")),
            "ABSTRACT": (socket.AF_UNIX, socket.SOCK_STREAM, chr(0) + abstract),
        }
        self.listeners: dict[str, socket.socket] = {}
        for name, (family, kind, address) in kinds.items():
            listener = self.listeners[name] = self._stack.enter_context(socket.socket(family, kind))
            listener.setblocking(False)
            listener.bind(address)
            if kind == socket.SOCK_STREAM:
                listener.listen()
        self.words = {
            "CANARY": str(self.canary),
            "PID": str(self.victim.pid),
            "SECRET": self.secret,
            "UNIX": str(folder / "socket"),
            "ABSTRACT": abstract,
            **{name: str(self.listeners[name].getsockname()[1]) for name in ("TCP", "UDP")},
        }

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fill(self, program: str) -> str:
        for name, value in self.words.items():
            program = program.replace(f"@{name}@", value)
        return program

    def traces(self) -> list[str]:
        found = []
        if self._canary_state() != self.before or len(list(self.canary.parent.iterdir())) != 2:
            found.append("the file outside was touched")
        if self.victim.poll() is not None:
            found.append("the process outside was ended")
        for name, listener in self.listeners.items():
            with suppress(BlockingIOError):
                _ = listener.recv(64) if name == "UDP" else listener.accept()
                found.append(f"something came in over {name}")
        if Path("/dev/shm/rapid-canary").exists():
            found.append("a file in /dev/shm")
        return found

    def _canary_state(self) -> tuple[object, ...]:
        facts = self.canary.stat()
        return self.canary.read_text(), facts.st_mode, facts.st_uid, facts.st_mtime_ns


def programs_left() -> list[str]:
    """Return processes that the sandboxes' interpreters have started and not ended."""
    below = psutil.Process().children(recursive=True)
    forks = [process for process in below if _is_interpreter(process) and _is_interpreter(process.parent())]
    # Each sandbox keeps one process for tests.
    beyond = [process for process in forks if process.pid != min(f.pid for f in forks if f.ppid() == process.ppid())]
    return [f"a program still runs: {process}" for process in beyond]


def uids_of_programs() -> set[int]:
    """Return the uids of programs; call it while the grading processes run, whose pids determine them."""
    children = psutil.Process().children()
    return {uid for child in children for uid in uids_for(child.pid) or [os.getuid()]}


def processes_left(uids: set[int], world: World) -> list[str]:
    """Return processes that still have the uids of programs a moment after everything was closed."""
    ours = {os.getpid(), os.getppid(), world.victim.pid}
    deadline = time.monotonic() + 5
    while True:
        found = [p for p in psutil.process_iter(["uids"]) if p.info["uids"].real in uids and p.pid not in ours]
        if not found or time.monotonic() > deadline:
            return [f"a process is left: {process}" for process in found]
        time.sleep(0.05)


def _is_interpreter(process: psutil.Process | None) -> bool:
    with suppress(psutil.Error):
        return process is not None and "inside.zygote" in " ".join(process.cmdline()) and process.name() != "bwrap"
    return False


def run(sandbox: dict[str, Any]) -> dict[str, Any]:
    programs = list({**EXHAUSTION, **ESCAPES, **CHEATING}.items())
    Random(0).shuffle(programs)  # those that take their whole time shall not queue behind each other
    with World() as world:
        outcomes, traces = _grade(dict(programs), world, SandboxSection(**LIMITS, **sandbox))
        # On a busy machine an attempt may not have come to its end, so that nothing is known about it.
        late = {name: text for name, text in ESCAPES.items() if outcomes[name][2].startswith("T")}
        if late:
            unhurried = SandboxSection(**{**LIMITS, "seconds": PATIENCE}, **sandbox)
            decided, more_traces = _grade(late, world, unhurried)
            outcomes |= decided
            traces += more_traces
        traces += world.traces()
    return {"outcomes": outcomes, "traces": traces}


def _grade(
    programs: dict[str, str], world: World, settings: SandboxSection
) -> tuple[dict[str, tuple[str, float, str]], list[str]]:
    """Return status, reward and detail of every program, and the processes that are left."""
    graders = resolve_graders([GraderSpec(name="code")], settings, GRADER_SECONDS)
    tasks = [
        GradingTask("", world.fill(text), None, f'{{"test_list": {ADDED if name in CHEATING else ESCAPED}}}')
        for name, text in programs.items()
    ]
    with GraderPool(graders, 4, GRADER_SECONDS) as pool:
        graded = {list(programs)[index]: outcome for index, outcome in pool.grade(tasks)}
        left = programs_left()
        uids = uids_of_programs()
    left += processes_left(uids, world)
    return {name: (o.status, o.reward, o.detail or "") for name, o in graded.items()}, left


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
