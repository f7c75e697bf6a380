"""Which layers of a sandbox this machine offers, found by trying them."""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from components.reward.sandbox.filter import available
from components.reward.sandbox.inside.confine import landlock_abi

_FIRST_UID = 1_000_000_000
_UIDS = 1_000_000
DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]


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
    if own_uids():
        return Layer("own uid", True, "programs run under one of their own")
    return Layer("own uid", False, "programs share yours: only root can give them another")


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


@cache
def system_paths() -> list[str]:
    """What an interpreter needs to read: itself, its library, shared libraries; all read-only in the sandbox."""
    executable = os.path.realpath(sys.executable)
    wanted = {
        executable,
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        "/usr/lib",
        "/usr/lib64",
        "/lib",
        "/lib64",
    }
    library = sysconfig.get_config_var("INSTSONAME")
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and library:
        wanted |= {str(path) for path in Path(sysconfig.get_config_var("LIBDIR")).glob("libpython*.so*")}
    return sorted(path for path in wanted if Path(path).exists())


@cache
def own_files() -> list[str]:
    """The modules that run inside, with the packages they lie in."""
    package = Path(__file__).parent
    return [str(package / "inside"), *(str(folder / "__init__.py") for folder in (package, *package.parents[:2]))]
