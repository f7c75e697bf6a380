"""The sandbox as seen from outside: a warm interpreter that starts programs, and one running program."""

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from components.sandbox import paths
from components.sandbox.inside.confine import Confinement, landlock_abi
from components.sandbox.inside.scratch import remove
from components.sandbox.inside.wire import Closed, frame, parse
from components.sandbox.layers import SYS_ADMIN, has_capabilities, uids_for
from components.sandbox.paths import DEVICES
from components.sandbox.seccomp import seccomp_program

_SCRATCH = "/scratch"
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_PACKET = 1 << 16
_MIB = 2**20
_FILES = 1024
_SHARE = 0.3
_THREADS = 32
# Processes of the sandbox itself, which the kernel counts too where programs run as the same user.
_OWN_PROCESSES = 4


class SandboxGone(Exception):
    """The sandbox itself has ended or does not reply; as far as is known, no program caused it."""


class TimedOut(Exception):
    """No message arrived before the deadline."""


class TooLarge(Exception):
    """A message is larger than `output_kib`."""


@dataclass(frozen=True)
class Limits:
    """Resources that one program may use.

    `seconds` is wall clock for all its tests together. `processes` 1 allows threads but no child processes; a larger
    number bounds processes and threads together.
    """

    seconds: float
    cpu_seconds: int
    memory_mib: int
    processes: int
    file_mib: int
    output_kib: int


class Sandbox:
    """A warm interpreter, confined according to `mode`: `namespaces`, `landlock` or `unsafe`. A context manager.

    It ends, with all that it started, when it is closed or when this process ends in any way.

    Raises:
        SandboxGone: it does not start; the message holds its last line of output.
    """

    def __init__(self, mode: str, limits: Limits) -> None:
        self.mode, self.limits = mode, limits
        self._started = 0
        # A process for tests that have no code of their own, and the seconds that it has worked.
        self._kept: tuple[Program, float] | None = None
        # A user namespace has one uid only.
        several_uids = has_capabilities(SYS_ADMIN) if mode == "namespaces" else not paths.closed_folder()
        self._uids = uids_for(os.getpid()) if several_uids else None
        # Without a mount namespace per program, one directory holds a scratch directory for each.
        self._scratch = None if mode == "namespaces" else tempfile.mkdtemp(prefix="rapid-sandbox-")
        self._process: subprocess.Popen[bytes] | None = None
        self._control, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with inside:
                self._begin(inside)
        except BaseException:
            self.close()
            raise

    def _begin(self, inside: socket.socket) -> None:
        if self._scratch and self._uids:
            Path(self._scratch).chmod(0o711)
        confinement = json.dumps(asdict(self._confinement())).encode()
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                self._command(),
                stdin=inside.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={"PYTHONHASHSEED": "0"},
            )
            inside.close()
            try:
                self._control.settimeout(_START_SECONDS)
                self._control.send(confinement)
                greeting = self._control.recv(_PACKET)
            except OSError:
                greeting = b""
            if not greeting:
                self.close()
                errors.seek(0)
                last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
                raise SandboxGone(f"the sandbox does not start: {' '.join(last) or 'no output'}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, kind: str, stdin: int | None = None, stdout: int | None = None) -> "Program":
        """Start a confined process of a kind that `inside.zygote` defines; it waits for a message."""
        self._started += 1
        ours, theirs = socket.socketpair()
        uid = self._uids[kind == "asserts"] if self._uids else None
        with theirs, Path(os.devnull).open("rb") as nothing, Path(os.devnull).open("wb") as null:
            fds = [theirs.fileno(), nothing.fileno() if stdin is None else stdin]
            fds.append(null.fileno() if stdout is None else stdout)
            try:
                socket.send_fds(self._control, [json.dumps(["start", self._started, kind, uid]).encode()], fds)
            except OSError as error:
                ours.close()
                raise SandboxGone(f"the sandbox has ended: {error}") from None
        return Program(self, self._started, ours)

    def take_tests(self, shared: bool) -> tuple["Program", float]:
        """Return a process for tests, with the seconds that it has worked: the kept one, if it may be shared."""
        kept, self._kept = (self._kept, None) if shared else (None, self._kept)
        return kept or (self.start("asserts"), 0.0)

    def keep_tests(self, tests: "Program", worked: float) -> None:
        """Keep a process for the next tests, unless it has used much of the processor time that it may use."""
        if worked > _SHARE * self.limits.cpu_seconds or self._kept is not None:
            tests.stop()
        else:
            self._kept = tests, worked

    def stop(self, number: int) -> tuple[int, bool]:
        """Kill a program with all that it started; return its wait status, and whether it had exceeded a limit."""
        try:
            self._control.settimeout(_STOP_SECONDS)
            self._control.send(json.dumps(["stop", number]).encode())
            return tuple(json.loads(self._control.recv(_PACKET)))
        except (OSError, ValueError):
            raise SandboxGone("the sandbox has ended") from None

    def close(self) -> None:
        if self._kept is not None:
            self._kept[0]._channel.close()
        self._control.close()
        if self._process is not None:
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._scratch:
            with suppress(OSError):
                remove(self._scratch)

    def _command(self) -> list[str]:
        namespaces = self.mode == "namespaces"
        executable = paths.interpreter()[0].inside if namespaces else paths.interpreter()[0].source
        code = f"import sys; sys.path.append({paths.import_root(namespaces)!r})\n"
        code += "from components.sandbox.inside.zygote import main; main()"
        python = [executable, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", code]
        return [*self._bubblewrap(), "--", *python] if namespaces else python

    def _bubblewrap(self) -> list[str]:
        words = [str(shutil.which("bwrap")), "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        words += ["--unshare-cgroup-try", "--hostname", "sandbox", "--new-session"]
        words += [] if has_capabilities(SYS_ADMIN) else ["--unshare-user"]
        for name in ("SYS_ADMIN", "KILL", *(("SETUID", "SETGID") if self._uids else ())):
            words += ["--cap-add", f"CAP_{name}"]
        places = (*paths.interpreter(), *paths.modules())
        # Directories that bubblewrap creates by itself are open to their owner only.
        targets = [*(place.inside for place in places), *paths.libraries(), *DEVICES, f"{_SCRATCH}/-"]
        for folder in sorted({str(folder) for target in targets for folder in Path(target).parents} - {"/"}):
            words += ["--perms", "0755", "--dir", folder]
        for place in places:
            words += ["--ro-bind", place.source, place.inside]
        for place in paths.packages():
            words += ["--tmpfs", place.inside, "--remount-ro", place.inside]
        for path in paths.libraries():
            link = Path(path).is_symlink()
            words += ["--symlink", os.readlink(path), path] if link else ["--ro-bind", path, path]  # noqa: PTH115
        for path in DEVICES:
            words += ["--dev-bind", path, path]
        return [*words, "--remount-ro", "/"]

    def _confinement(self) -> Confinement:
        limits, namespaces = self.limits, self.mode == "namespaces"
        if namespaces:
            own = [place.inside for place in (*paths.interpreter(), *paths.modules())]
        else:
            own = [*paths.standard_library(), *(place.source for place in paths.modules())]
        return Confinement(
            namespaces=namespaces,
            landlock=self.mode != "unsafe" and landlock_abi() > 0,
            scratch=self._scratch or _SCRATCH,
            readable=[*(path for path in paths.libraries() if not Path(path).is_symlink()), *own],
            listed=[] if namespaces else [p.source for p in paths.interpreter() if Path(p.source).is_dir()],
            devices=DEVICES,
            filter="" if self.mode == "unsafe" else seccomp_program(limits.processes).hex(),
            processes=(_THREADS if limits.processes == 1 else limits.processes) + (0 if self._uids else _OWN_PROCESSES),
            count_processes=namespaces or self._uids is not None,
            cpu=limits.cpu_seconds,
            memory=limits.memory_mib * _MIB,
            file=limits.file_mib * _MIB,
            disk=limits.file_mib * _MIB,
            files=_FILES,
        )


class Program:
    """A running program and the channel to it. A context manager that kills the program on exit."""

    def __init__(self, sandbox: Sandbox, number: int, channel: socket.socket) -> None:
        self._sandbox, self._number, self._channel = sandbox, number, channel
        self._confined = False
        self._status: int | None = None
        self.closed = self.exceeded = False  # its end of the channel; a limit at which it is killed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def send(self, message: object, deadline: float) -> None:
        """Send a message as JSON. Raises Closed, TimedOut; SandboxGone if the process could not be confined."""
        self.send_frame(json.dumps(message).encode(), deadline)

    def receive(self, deadline: float) -> Any:
        """Read the next message. Raises Malformed, and what `receive_frame` raises."""
        return parse(self.receive_frame(deadline))

    def send_frame(self, body: bytes, deadline: float) -> None:
        """Send a message that is JSON already. Raises as `send` does."""
        self._confirm(deadline)
        view = memoryview(frame(body))
        while view:
            self._channel.settimeout(_left(deadline))
            try:
                view = view[self._channel.send(view) :]
            except TimeoutError:
                raise TimedOut from None
            except OSError:
                self.closed = True
                raise Closed from None

    def receive_frame(self, deadline: float) -> bytes:
        """Read the next message, unparsed.

        Raises:
            Closed, TimedOut, TooLarge: there is no message, or it is too large.
            SandboxGone: the process could not be confined.
        """
        self._confirm(deadline)
        return self._read_frame(deadline)

    def stop(self) -> int:
        """Kill the program and return its wait status, which tells whether it had ended by itself. Idempotent."""
        if self._status is None:
            self._channel.close()
            self._status, self.exceeded = self._sandbox.stop(self._number)
        return self._status

    def _confirm(self, deadline: float) -> None:
        """Read the first message, sent before the program's text arrives; all later ones come from the program."""
        if self._confined:
            return
        try:
            message = parse(self._read_frame(deadline))
        except Closed:
            message = "the process ended"
        if message != ["confined"]:
            raise SandboxGone(f"a program could not be confined and was not run: {message}")
        self._confined = True

    def _read_frame(self, deadline: float) -> bytes:
        (size,) = struct.unpack(">I", self._read(4, deadline))
        if size > self._sandbox.limits.output_kib * 1024:
            raise TooLarge
        return self._read(size, deadline)

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._channel.settimeout(_left(deadline))
            try:
                more = self._channel.recv(min(_PACKET, size - len(data)))
            except TimeoutError:
                raise TimedOut from None
            except OSError:
                more = b""
            if not more:
                self.closed = True
                raise Closed
            data += more
        return bytes(data)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimedOut
    return left
