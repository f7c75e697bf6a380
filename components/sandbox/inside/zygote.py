"""A warm interpreter that forks one confined process per program.

Standard input is a socket of packets. The first one, from outside, is the confinement as JSON; then come

    ["start", number, kind, uid]    with file descriptors: channel, standard input, standard output
    ["stop", number]                the reply is [wait status, exceeded], sent once all of the process is gone:
                                    `exceeded` tells whether it was over a limit at which it is killed

Before it reads from its channel, a process sends `["confined"]`, or the reason why it is not.

When the socket closes, everything is killed and this process ends.
"""

import builtins
import contextlib
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import NoReturn

from components.sandbox.inside import asserts, program
from components.sandbox.inside.confine import CLONE_NEWPID, Confinement, call, confine
from components.sandbox.inside.scratch import exceeds, remove
from components.sandbox.inside.wire import send

# Modules that programs usually import: forks inherit them.
_WARM = """
array bisect calendar cmath collections contextlib copy dataclasses datetime decimal enum fractions functools heapq
itertools json math operator queue random re statistics string struct textwrap threading time types typing
"""
_PACKET = 1 << 18
_LOOK_SECONDS = 0.05
# Where the kernel sees the limit reached, `wait4` was seen to tell 0.88 of it, on a busy machine.
_OUT_OF_TIME = 0.7
_PR_SET_CHILD_SUBREAPER = 36
_CHANNEL = 3
_KINDS = {"calls": program.serve, "script": program.script, "asserts": asserts.serve}


@dataclass
class _Zygote:
    control: socket.socket
    how: Confinement
    own_namespace: int = field(default_factory=lambda: os.pidfd_open(os.getpid()))
    running: dict[int, tuple[int, str]] = field(default_factory=dict)
    exceeded: set[int] = field(default_factory=set)

    def serve(self) -> None:
        while True:
            if not self.how.namespaces:
                self._watch()
            patience = _LOOK_SECONDS if self.running and not self.how.namespaces else None
            if not select.select([self.control], [], [], patience)[0]:
                continue
            data, fds, _, _ = socket.recv_fds(self.control, _PACKET, 3)
            if not data:
                break
            match json.loads(data):
                case ["start", int(number), str(kind), uid]:
                    self._start(number, kind, uid, fds)
                case ["stop", int(number)]:
                    self.control.send(json.dumps(self._stop(number)).encode())
            for fd in fds:
                os.close(fd)
        for number in list(self.running):
            self._stop(number)
        if not self.how.namespaces:
            os.rmdir(self.how.scratch)

    def _start(self, number: int, kind: str, uid: int | None, fds: list[int]) -> None:
        scratch = self.how.scratch
        if self.how.namespaces:
            call("unshare", CLONE_NEWPID)
        else:
            scratch = f"{scratch}/{number}"
            os.mkdir(scratch, 0o700)
            if uid is not None:
                os.chown(scratch, uid, uid)
        # In a pid namespace of its own, a process sees its parent as 0.
        parent = 0 if self.how.namespaces else os.getpid()
        pid = os.fork()
        if not pid:
            self._become(kind, uid, scratch, fds, parent)
        self.running[number] = pid, scratch
        if self.how.namespaces:
            # The next fork must not land in this program's namespace.
            call("setns", self.own_namespace, CLONE_NEWPID)

    def _become(self, kind: str, uid: int | None, scratch: str, fds: list[int], parent: int) -> NoReturn:
        try:
            null = os.open(os.devnull, os.O_RDWR)
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in (*fds[1:], *[null] * (4 - len(fds)), fds[0])]
            for own, fd in enumerate(high):
                os.dup2(fd, own)
            os.closerange(_CHANNEL + 1, 1 << 20)
            try:
                confine(self.how, scratch, uid, parent)
            except OSError as error:
                send(_CHANNEL, str(error))
                os._exit(1)
            send(_CHANNEL, ["confined"])
            _KINDS[kind](_CHANNEL)
        finally:
            os._exit(1)

    def _stop(self, number: int) -> tuple[int, bool]:
        pid, scratch = self.running.pop(number)
        os.kill(pid, signal.SIGKILL)
        _, status, used = os.wait4(pid, 0)
        if not self.how.namespaces:
            self._sweep()
            remove(scratch)
        out_of_time = used.ru_utime + used.ru_stime > _OUT_OF_TIME * self.how.cpu
        return status, out_of_time or number in self.exceeded

    def _sweep(self) -> None:
        """Kill the processes that a program left behind; as subreaper, this process has become their parent."""
        known = {pid for pid, _ in self.running.values()}
        while left := _children() - known:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _watch(self) -> None:
        """Kill programs over limits that the kernel does not enforce without namespaces: scratch size, and threads."""
        for number, (pid, scratch) in self.running.items():
            if exceeds(scratch, self.how.disk, self.how.files) or _threads(pid) > self.how.processes:
                self.exceeded.add(number)
                os.kill(pid, signal.SIGKILL)


def _threads(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{pid}/task").st_nlink - 2
    return 0


def _children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return {int(pid) for pid in file.read().split()}


def main() -> None:
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    how = Confinement(**json.loads(control.recv(_PACKET)))
    # Programs expect these of `site`, which is not loaded.
    vars(builtins).update(exit=sys.exit, quit=sys.exit)
    for name in _WARM.split():
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    _Zygote(control, how).serve()
