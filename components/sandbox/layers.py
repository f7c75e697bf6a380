"""Layers of a sandbox, and whether this machine offers them."""

import os
from dataclasses import dataclass
from pathlib import Path

from components.sandbox.paths import closed_folder
from components.sandbox.seccomp import seccomp_version

SYS_ADMIN = 21
_CHOWN, _KILL, _SETGID, _SETUID = 0, 5, 6, 7
_FIRST_UID = 1_000_000_000
_UIDS = 1_000_000


@dataclass(frozen=True)
class Layer:
    """A layer, what was found out about it, and how to fix its absence."""

    name: str
    holds: bool
    found: str
    fix: str = ""


def seccomp() -> Layer:
    version = seccomp_version()
    if version:
        return Layer("seccomp", True, version)
    fix = "install libseccomp (Debian: libseccomp2) and pip install '.[reward]'"
    return Layer("seccomp", False, "no filters, or libseccomp or pyseccomp missing", fix)


def own_uid() -> Layer:
    if own_uids() and (folder := closed_folder()):
        found = f"with namespaces only: without them other uids cannot reach the interpreter below {folder}"
        return Layer("own uid", False, found, f"chmod o+x {folder}")
    if own_uids():
        return Layer("own uid", True, "programs run under a uid of their own")
    return Layer("own uid", False, "programs run under your uid: only root with its capabilities can change that")


def has_capabilities(*numbers: int) -> bool:
    """Return whether this process is root and has these capabilities, some of which containers drop."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return os.geteuid() == 0 and all(effective >> number & 1 for number in numbers)


def uids_for(pid: int) -> range | None:
    """Return two uids for a sandbox: one for programs, one for their tests. None where uids cannot be changed."""
    uids = own_uids()
    if uids is None:
        return None
    first = uids[2 * (pid % (len(uids) // 2))]
    return range(first, first + 2)


def own_uids() -> range | None:
    """Return uids that are unlikely to be in use; None where this process may not use them."""
    if not has_capabilities(_CHOWN, _KILL, _SETGID, _SETUID):
        return None
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        first, _, count = (int(word) for word in line.split())
        if first <= _FIRST_UID < first + count - 2 * _UIDS:
            return range(_FIRST_UID, _FIRST_UID + 2 * _UIDS)
        if count >= 4096:  # a container's share: the upper half of it
            return range(first + count // 2, first + count - 1)
    return None
