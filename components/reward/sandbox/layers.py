"""Which layers of a sandbox this machine offers, found by trying them."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from components.reward.sandbox.filter import available
from components.reward.sandbox.inside.confine import landlock_abi
from components.reward.sandbox.paths import closed_folder

_FIRST_UID = 1_000_000_000
_UIDS = 1_000_000


@dataclass(frozen=True)
class Layer:
    """A layer, what was found of it, and how to mend its absence."""

    name: str
    holds: bool
    found: str
    mend: str = ""


def bubblewrap() -> str | None:
    return shutil.which("bwrap")


def landlock() -> Layer:
    abi = landlock_abi()
    if abi:
        return Layer("landlock", True, f"ABI {abi}")
    return Layer("landlock", False, "not in this kernel or switched off", "use a kernel from 5.13 with lsm=landlock")


def seccomp() -> Layer:
    version = available()
    if version:
        return Layer("seccomp", True, version)
    mend = "install libseccomp (Debian: libseccomp2) and pip install 'rapid-rl[reward]'"
    return Layer("seccomp", False, "no filters, or libseccomp or pyseccomp missing", mend)


def own_uid() -> Layer:
    if own_uids() and (folder := closed_folder()):
        found = f"under namespaces only: without them no other uid reaches the interpreter below {folder}"
        return Layer("own uid", False, found, f"chmod o+x {folder}")
    if own_uids():
        return Layer("own uid", True, "programs run under one of their own")
    return Layer("own uid", False, "programs share yours: only root can give them another")


def uids_for(pid: int) -> range | None:
    """Two uids for the programs and the judges of a grading process; None where no uid can be given away."""
    uids = own_uids()
    if uids is None:
        return None
    first = uids[2 * (pid % (len(uids) // 2))]
    return range(first, first + 2)


def own_uids() -> range | None:
    """Numbers that nobody on this machine should have; None where this process cannot take them."""
    if os.geteuid() != 0:
        return None
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        first, _, count = (int(word) for word in line.split())
        if first <= _FIRST_UID < first + count - 2 * _UIDS:
            return range(_FIRST_UID, _FIRST_UID + 2 * _UIDS)
        if count >= 4096:  # a container's share: the upper half of it
            return range(first + count // 2, first + count - 1)
    return None
