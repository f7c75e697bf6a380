"""Install packages or this project into a new folder, later /opt/rapid; runs in a build stage that is discarded.

    python3 install.py packages LOCK FOLDER     install what LOCK names and the base image lacks
    python3 install.py project SOURCE FOLDER    install this project, built with the setuptools of its lock

Packages of the base image are kept, because they are built for its CUDA and fit each other, except those that the
Dockerfiles remove from a Python image. A build may mount wheels in /wheels, pip's configuration as /etc/pip.conf and a
CA bundle as /run/secrets/ca.
"""

import compileall
import os
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

WHEELS = Path("/wheels")
CA_BUNDLE = Path("/run/secrets/ca")
REMOVED = {"pip", "setuptools", "wheel"}


def packages(lock: Path, folder: Path) -> None:
    """Install the packages of a lock file that the base image lacks."""
    # The remains of a removed package have no name.
    named = {_canonical(found.name): found.version for found in distributions() if found.name}
    present = {name: version for name, version in named.items() if name not in REMOVED}
    lines = lock.read_text(encoding="utf-8").split()
    missing = [line for line in lines if _canonical(line.partition("==")[0]) not in present]
    for line in sorted(set(lines) - set(missing)):
        name, _, locked = line.partition("==")
        print(f"from the base image: {name} {present[_canonical(name)]} (locked: {locked})")
    _pip(folder, *missing)
    _finish(folder)


def project(source: Path, folder: Path) -> None:
    """Build and install this project."""
    lock = (source / "requirements/lock.txt").read_text(encoding="utf-8").split()
    with tempfile.TemporaryDirectory() as tools:
        _pip(Path(tools), next(line for line in lock if line.startswith("setuptools==")))
        _pip(folder, "--no-build-isolation", str(source), PYTHONPATH=tools)
    _finish(folder)


def _pip(folder: Path, *words: str, **environment: str) -> None:
    command = [*_pip_command(), "install", "--quiet", "--no-deps", "--no-compile", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--root-user-action=ignore", f"--target={folder}"]
    if WHEELS.is_dir():
        command.append(f"--find-links={WHEELS}")
    if CA_BUNDLE.is_file():
        environment["PIP_CERT"] = str(CA_BUNDLE)
    subprocess.run([*command, *words], env={**os.environ, **environment}, check=True)


def _pip_command() -> list[str]:
    """Return the command of pip; Debian's Python has none, but can make an environment that has."""
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    tools = Path("/tools")
    if not tools.exists():
        subprocess.run([sys.executable, "-m", "venv", tools], check=True)
    return [str(tools / "bin/pip"), f"--python={sys.executable}"]


def _finish(folder: Path) -> None:
    # Containers run with a read-only root file system, so Python cannot compile there.
    compileall.compile_dir(folder, quiet=2, workers=0, stripdir=str(folder), prependdir="/opt/rapid")


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    command, source, folder = sys.argv[1:]
    {"packages": packages, "project": project}[command](Path(source), Path(folder))
