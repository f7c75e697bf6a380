"""Files that a program may read: the interpreter, shared libraries, the modules that run inside the sandbox."""

import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]

_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """A file or directory, and its path inside the `namespaces` mode.

    The interpreter may lie in a folder that only its owner can enter; its path inside is open to every uid.
    """

    source: str
    inside: str


@cache
def interpreter() -> list[Place]:
    """Return the executable, then the standard library and the interpreter's shared library, if it has one."""
    # By default sysconfig returns a virtual environment's folder of packages as platstdlib.
    base = {"platbase": sys.base_exec_prefix}
    paths = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib", vars=base)]
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        paths += map(str, Path(sys.base_exec_prefix, "lib").glob("libpython*.so*"))
    executable = os.path.realpath(sys.executable)
    return [Place(path, "/python/" + "/".join(Path(path).parts[-2:])) for path in dict.fromkeys([executable, *paths])]


def closed_folder() -> str | None:
    """Return a folder above the interpreter that other uids cannot enter; None where there is none."""
    for place in interpreter():
        for folder in Path(place.source).parents:
            if not folder.stat().st_mode & 0o001:
                return str(folder)
    return None


@cache
def modules() -> list[Place]:
    """Return the folder `inside` and the `__init__.py` of the packages above it."""
    package = Path(__file__).parent
    sources = [package / "inside", *(folder / "__init__.py" for folder in (package, *package.parents[:1]))]
    return [Place(str(path), f"/modules/{path.relative_to(_ROOT)}") for path in sources]


def import_root(namespaces: bool) -> str:
    """Return the folder from which `modules` are imported."""
    return "/modules" if namespaces else str(_ROOT)


@cache
def libraries() -> list[str]:
    return [path for path in _LIBRARIES if Path(path).exists()]
