"""The packages that the `rapid` command needs on a machine that only submits runs."""

import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def installed_with_the_project() -> set[str]:
    """Canonical names of what the project depends on without any extra, directly or not."""
    waiting = [Requirement(text) for text in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]]
    found: set[str] = set()
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        if name not in found:
            found.add(name)
            needed = map(Requirement, distribution(name).requires or [])
            waiting += [other for other in needed if other.marker is None or other.marker.evaluate({"extra": ""})]
    return found


_ALONE = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import pipelines.cli.main
"""


def test_the_command_starts_without_what_only_stages_have() -> None:
    """Packages of an extra, and those that come with one of them and are here by chance, are hidden from it."""
    there = installed_with_the_project() | {"rapid-rl"}
    assert "kfp" in there
    owners = packages_distributions().items()
    hidden = [module for module, names in owners if there.isdisjoint(map(canonicalize_name, names))]
    assert {"torch", "transformers", "vllm", "mlflow"} <= set(hidden)
    command = [sys.executable, "-c", _ALONE, " ".join(hidden)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
