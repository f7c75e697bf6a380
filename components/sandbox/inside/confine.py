"""Confinement that a forked process puts on itself, irreversibly, before it runs a program.

In this order: a mount namespace with an empty scratch file system (not where namespaces are forbidden), limits,
Landlock, a uid of its own, no capabilities, seccomp.
"""

import ctypes
import os
import resource
import signal
import struct
from dataclasses import dataclass
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000

_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

_SYS_LANDLOCK = 444  # create_ruleset, add_rule, restrict_self: the same numbers on every architecture
_LANDLOCK_VERSION = 1
_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _TRUNCATE = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 14
_REFER = 1 << 13  # moves from one directory to another
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_BIND_AND_CONNECT_TCP = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3

_OPEN_FILES = 32

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Confinement:
    """The limits of programs, received as JSON from outside. Sizes are in bytes, times in seconds.

    `readable` are system paths, `listed` folders of which names may be read, `devices` paths that may be written too;
    `filter` is a seccomp program in hexadecimal, empty for none. `processes` includes threads; the kernel counts them
    (`count_processes`) where no other process has the same uid.
    """

    namespaces: bool
    landlock: bool
    scratch: str
    readable: list[str]
    listed: list[str]
    devices: list[str]
    filter: str
    processes: int
    count_processes: bool
    cpu: int
    memory: int
    file: int
    disk: int
    files: int


def confine(how: Confinement, scratch: str, uid: int | None, parent: int) -> None:
    """Confine this process to `scratch` and make it die with its parent.

    Raises:
        OSError: a layer that was asked for could not be put on; then nothing may run.
    """
    if how.namespaces:
        call("unshare", CLONE_NEWNS | CLONE_NEWIPC)
        options = f"size={how.disk},nr_inodes={how.files},mode=0700" + (f",uid={uid},gid={uid}" if uid else "")
        call("mount", b"scratch", scratch.encode(), b"tmpfs", _MS_NOSUID_NODEV_NOEXEC, options.encode())
    _limit(how)
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.chdir(scratch)
    if how.landlock:
        _landlock(how, scratch)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header, nothing = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    call("capset", header, nothing)
    # Denies others ptrace and /proc/<pid> of this process. A change of uid resets it, so it comes after that.
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    if how.filter:
        _seccomp(bytes.fromhex(how.filter))


def landlock_abi() -> int:
    """Return the version of Landlock; 0 where the kernel has none or it is switched off."""
    return max(0, int(_libc.syscall(_SYS_LANDLOCK, None, 0, _LANDLOCK_VERSION)))


def call(name: str, *arguments: Any) -> int:
    """Call a function of libc that returns -1 and sets errno on failure. Raises OSError."""
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _limit(how: Confinement) -> None:
    wanted = {
        resource.RLIMIT_CPU: how.cpu,
        resource.RLIMIT_AS: how.memory,
        resource.RLIMIT_FSIZE: how.file,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_SIGPENDING: 64,
    }
    if how.count_processes:
        wanted[resource.RLIMIT_NPROC] = how.processes
    for which, value in wanted.items():
        _, hard = resource.getrlimit(which)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (bound, bound))


def _landlock(how: Confinement, scratch: str) -> None:
    abi = landlock_abi()
    handled = (1 << _RIGHTS_BY_ABI[min(abi, 5)]) - 1
    attribute = struct.pack("=Q", handled)
    if abi >= 4:
        attribute += struct.pack("=Q", _BIND_AND_CONNECT_TCP)
    if abi >= 6:
        attribute += struct.pack("=Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset = call("syscall", _SYS_LANDLOCK, attribute, len(attribute), 0)
    own = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE
    own |= _MAKE_DIR | _REMOVE_DIR | _REFER
    rules = dict.fromkeys(how.listed, _READ_DIR)
    rules |= dict.fromkeys(how.readable, _EXECUTE | _READ_FILE | _READ_DIR)
    rules |= dict.fromkeys(how.devices, _READ_FILE | _WRITE_FILE)
    rules[scratch] = own
    for path, rights in rules.items():
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = rights & handled & (-1 if os.path.isdir(path) else _FILE_RIGHTS)
        call("syscall", _SYS_LANDLOCK + 1, ruleset, 1, struct.pack("=Qi", allowed, fd), 0)
        os.close(fd)
    call("syscall", _SYS_LANDLOCK + 2, ruleset, 0)
    os.close(ruleset)


def _seccomp(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of 8-byte instructions, and where they are.
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0)
