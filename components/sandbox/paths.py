"""Files that a program may read: the interpreter, shared libraries, the modules that run inside the sandbox."""

import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]

_PACKAGES = ("site-packages", "dist-packages")
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
def packages() -> list[Place]:
    """Return the folders of installed packages within the standard library's, which no program may read."""
    folders = [place for place in interpreter() if Path(place.source).is_dir()]
    return [
        Place(f"{place.source}/{name}", f"{place.inside}/{name}")
        for place in folders
        for name in _PACKAGES
        if Path(place.source, name).is_dir()
    ]


@cache
def standard_library() -> list[str]:
    """Return the executable and every entry of the standard library but installed packages."""
    hidden = {place.source for place in packages()}
    paths = [Path(place.source) for place in interpreter()]
    entries = [str(entry) for path in paths for entry in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [entry for entry in entries if entry not in hidden]


@cache
def libraries() -> list[str]:
    """Return folders of shared libraries; of Debian's only that of this architecture, beside which other data lies."""
    existing = [path for path in _LIBRARIES if Path(path).exists()]
    architecture = sysconfig.get_config_var("MULTIARCH") or "-"
    if not Path("/usr/lib", architecture).is_dir():
        return existing
    own = [path if Path(path).is_symlink() else f"{path}/{architecture}" for path in ("/usr/lib", "/lib")]
    return [path for path in [*own, *(path for path in existing if path.endswith("64"))] if Path(path).exists()]
