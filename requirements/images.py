"""Derives the lock file of every image from lock.txt: what its stages need, with what that needs in turn.

    python requirements/images.py            writes images/*.txt
    python requirements/images.py --check    says which of them are not what they should be; exit status 1

It reads the dependencies of the packages installed here, so run it in the environment that lock.txt describes.
"""

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parent

EXTRAS = {
    "base": ("prepare", "reasoning-gym", "publish", "tracking", "trainjob"),
    "reward": ("reward", "reasoning-gym"),
    "rollout": ("rollout",),
    "train": ("train", "tracking"),
    "cpu": ("prepare", "rollout-cpu", "reward", "reasoning-gym", "train", "trainjob", "publish", "tracking"),
}
# What the official base images bring, built for their CUDA; never installed beside it, so not followed either.
IN_BASE_IMAGE = {"rollout": {"vllm", "torch"}, "train": {"torch"}}
# In these a tracking server is reached over HTTP; MLflow's own server and databases stay out.
INSTEAD = {image: {"mlflow": "mlflow-skinny"} for image in ("base", "train")}
# requirements/README.md says why these are installed nowhere.
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec", "triton"}
# Images built on other distributions have Python 3.12.
PYTHONS = ("3.11", "3.12")


def main(check: bool) -> int:
    stale = 0
    for image in EXTRAS:
        path = FOLDER / "images" / f"{image}.txt"
        text = "".join(f"{line}\n" for line in locked(image))
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            print(f"{path} is not what lock.txt and pyproject.toml say: run python requirements/images.py")
            stale = 1
        elif not check:
            path.write_text(text, encoding="utf-8")
    return stale


def locked(image: str) -> list[str]:
    """The lines of lock.txt that an image installs.

    Raises:
        SystemExit: something needed is not in lock.txt, or not installed here.
    """
    lock = {canonicalize_name(line.partition("==")[0]): line for line in _lines(FOLDER / "lock.txt")}
    names = closure(image)
    if missing := sorted(names - lock.keys()):
        raise SystemExit(f"{image}: {', '.join(missing)} missing in {FOLDER / 'lock.txt'}")
    return [lock[name] for name in sorted(names)]


def closure(image: str) -> set[str]:
    """Canonical names of what the image's extras need, directly or not."""
    skipped = LEFT_OUT | IN_BASE_IMAGE.get(image, set())
    instead = INSTEAD.get(image, {})
    waiting = list(_project(EXTRAS[image]))
    found: dict[str, set[str]] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        name = instead.get(name, name)
        if name in skipped or (name in found and requirement.extras <= found[name]):
            continue
        found.setdefault(name, set()).update(requirement.extras)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            raise SystemExit(f"{image}: {name} is not installed here; install requirements/lock.txt first") from None
        waiting += [other for other in map(Requirement, needed) if _applies(other, requirement.extras)]
    return set(found)


def _project(extras: tuple[str, ...]) -> Iterator[Requirement]:
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
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
