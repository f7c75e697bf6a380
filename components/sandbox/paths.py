"""What of the file system a program may read: the interpreter, shared libraries, the modules that run inside."""

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
    """A file or directory, and where it is seen under namespaces.

    The interpreter may lie where only its owner can reach it; a place of its own is open to every uid.
    """

    source: str
    inside: str


@cache
def interpreter() -> list[Place]:
    """The executable first, then the standard library and the shared library of the interpreter, if it has one."""
    # Left to itself, sysconfig takes a virtual environment's folder of packages for the second one.
    base = {"platbase": sys.base_exec_prefix}
    paths = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib", vars=base)]
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        paths += map(str, Path(sys.base_exec_prefix, "lib").glob("libpython*.so*"))
    executable = os.path.realpath(sys.executable)
    return [Place(path, "/python/" + "/".join(Path(path).parts[-2:])) for path in dict.fromkeys([executable, *paths])]


def closed_folder() -> str | None:
    """A folder on the way to the interpreter that another uid cannot enter; None where there is none."""
    for place in interpreter():
        for folder in Path(place.source).parents:
            if not folder.stat().st_mode & 0o001:
                return str(folder)
    return None


@cache
def modules() -> list[Place]:
    """The folder `inside` and the `__init__.py` of the packages it lies in; seen below the root that comes last."""
    package = Path(__file__).parent
    sources = [package / "inside", *(folder / "__init__.py" for folder in (package, *package.parents[:1]))]
    return [Place(str(path), f"/modules/{path.relative_to(_ROOT)}") for path in sources]


def import_root(namespaces: bool) -> str:
    """Where the modules are imported from."""
    return "/modules" if namespaces else str(_ROOT)


@cache
def libraries() -> list[str]:
    return [path for path in _LIBRARIES if Path(path).exists()]
