"""Derive the lock file of every image from lock.txt: the packages of its stages and their dependencies.

    python requirements/images.py            write images/*.txt
    python requirements/images.py --check    name those that are out of date, and exit with status 1

Run it in the environment that lock.txt describes: dependencies are read from the installed packages.
"""

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parent

EXTRAS = {
    "base": ("prepare", "reasoning-gym", "publish", "tracking", "trainjob"),
    "reward": ("reward", "reasoning-gym"),
    "rollout": ("rollout",),
    "train": ("train", "tracking"),
    "pod": ("rollout", "reward", "reasoning-gym", "train", "tracking"),
    "cpu": ("prepare", "rollout-cpu", "reward", "reasoning-gym", "train", "trainjob", "publish", "tracking"),
}
# Provided by the official base images for their CUDA: neither installed nor followed.
IN_BASE_IMAGE = {"rollout": {"vllm", "torch"}, "train": {"torch"}, "pod": {"vllm", "torch"}}
# These images reach a tracking server over HTTP and need neither MLflow's server nor its databases.
REPLACED = {image: {"mlflow": "mlflow-skinny"} for image in ("base", "train", "pod")}
# The CUDA images have Python 3.12.
PYTHONS = ("3.11", "3.12")


def main(check: bool) -> int:
    stale = 0
    for image in EXTRAS:
        path = FOLDER / "images" / f"{image}.txt"
        text = "".join(f"{line}\n" for line in locked(image))
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            print(f"{path} is out of date: run python requirements/images.py")
            stale = 1
        elif not check:
            path.write_text(text, encoding="utf-8")
    return stale


def locked(image: str) -> list[str]:
    """Return the lines of lock.txt that an image installs.

    Raises:
        SystemExit: A required package is not in lock.txt, or not installed here.
    """
    lock = {canonicalize_name(line.partition("==")[0]): line for line in _lines(FOLDER / "lock.txt")}
    names = closure(image)
    if missing := sorted(names - lock.keys()):
        raise SystemExit(f"{image}: {', '.join(missing)} missing in {FOLDER / 'lock.txt'}")
    return [lock[name] for name in sorted(names)]


def closure(image: str) -> set[str]:
    """Return the canonical names of all direct and indirect dependencies of the image's extras."""
    pyproject = _pyproject()
    skipped = {*pyproject["tool"]["uv"]["exclude-dependencies"], *IN_BASE_IMAGE.get(image, ())}
    replaced = REPLACED.get(image, {})
    waiting = list(_requirements(pyproject["project"], EXTRAS[image]))
    found: dict[str, set[str]] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        name = replaced.get(name, name)
        if name in skipped or (name in found and requirement.extras <= found[name]):
            continue
        found.setdefault(name, set()).update(requirement.extras)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            raise SystemExit(f"{image}: {name} is not installed here; install requirements/lock.txt first") from None
        waiting += [other for other in map(Requirement, needed) if _applies(other, requirement.extras)]
    return set(found)


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))


def _requirements(project: dict[str, Any], extras: tuple[str, ...]) -> Iterator[Requirement]:
    yield from map(Requirement, project["dependencies"])
    for extra in extras:
        yield from map(Requirement, project["optional-dependencies"][extra])


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(
        requirement.marker.evaluate({"extra": extra, "python_version": python, "python_full_version": f"{python}.0"})
        for extra in {"", *extras}
        for python in PYTHONS
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split()


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
