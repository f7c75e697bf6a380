"""Use of the machine by a stage, as it is seen."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

import components.runtime.usage
from components.runtime.clock import Clock
from components.runtime.cores import usable_cores
from components.runtime.usage import Usage

BUSY = "import time; block = bytearray(100 << 20)\nwhile time.process_time() < 0.5: pass"


class NvmlError(Exception):
    pass


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    """Let each test ask anew for GPUs, which a process otherwise does once."""
    for found in (components.runtime.usage._gpus, components.runtime.usage._nvml):
        found.cache_clear()
    yield
    for found in (components.runtime.usage._gpus, components.runtime.usage._nvml):
        found.cache_clear()


def use_nvml(monkeypatch: pytest.MonkeyPatch, **functions: object) -> None:
    """Stand in for NVIDIA's library of three GPUs: a whole one, a part of one (MIG), and one that is lost."""

    def handle(number: int) -> int:
        if number == 2:
            raise NvmlError
        return number

    def rates(number: int) -> SimpleNamespace:
        if number == 1:
            raise NvmlError
        return SimpleNamespace(gpu=75)

    nvml = {
        "NVMLError": NvmlError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 3,
        "nvmlDeviceGetHandleByIndex": handle,
        "nvmlDeviceGetUtilizationRates": rates,
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=3_000_000_000),
    }
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(**{**nvml, **functions}))


def used_by(program: str) -> Usage:
    usage = Usage()
    with usage.measure():
        subprocess.run([sys.executable, "-c", program], check=True)
    return usage


def test_processes_that_ended_count_too() -> None:
    """A stage's work may be done by processes below it, which come and go."""
    usage = used_by(BUSY)
    (began, before), *_, (ended, after) = usage._cpu
    assert after - before > 0.45
    share = (after - before) / (ended - began) / usable_cores()
    assert usage.values()["cpu_utilization_percentage"] == pytest.approx(100 * share, abs=0.01)


def test_memory_is_the_highest_that_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.runtime.usage.INTERVAL", 0.02)
    usage = used_by(BUSY)
    assert len(usage._cpu) > 3
    usage.look()
    gone = usage._samples["memory_usage_megabytes"][-1]
    assert usage.values()["memory_usage_megabytes"] > gone + 100


def test_gpus_are_those_that_nvml_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nvml(monkeypatch)
    gpus = {name: value for name, value in used_by("").values().items() if name.startswith("gpu")}
    assert gpus == {
        "gpu_0_utilization_percentage": 75.0,
        "gpu_0_memory_usage_megabytes": 3000.0,
        "gpu_1_memory_usage_megabytes": 3000.0,
    }


def test_a_gpu_that_is_lost_meanwhile_costs_only_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nvml(monkeypatch)
    usage = used_by("")

    def lost(_: int) -> None:
        raise NvmlError

    use_nvml(monkeypatch, nvmlDeviceGetMemoryInfo=lost)
    components.runtime.usage._nvml.cache_clear()
    usage.look()
    assert usage.values()["gpu_1_memory_usage_megabytes"] == 3000.0


@pytest.mark.parametrize("error", [psutil.AccessDenied(1), PermissionError(), OSError(24, "Too many open files")])
def test_processes_that_cannot_be_seen_are_left_out(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(psutil.Process, "children", refuse)
    assert used_by("").values()["memory_usage_megabytes"] > 1
    monkeypatch.setattr(psutil.Process, "oneshot", refuse)
    assert used_by("").values() == {"cpu_utilization_percentage": 0.0, "memory_usage_megabytes": 0.0}


@pytest.mark.parametrize("reason", ["no library", "no driver"])
def test_without_gpus_there_are_none(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    def no_driver() -> None:
        raise NvmlError

    if reason == "no driver":
        use_nvml(monkeypatch, nvmlInit=no_driver)
    else:
        monkeypatch.setitem(sys.modules, "pynvml", None)
    assert used_by("").values().keys() == {"cpu_utilization_percentage", "memory_usage_megabytes"}


def test_short_blocks_share_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is timed for each group that it returns."""
    for name in ("BETWEEN_BLOCKS", "INTERVAL"):
        monkeypatch.setattr(f"components.runtime.usage.{name}", 3600.0)
    before = threading.active_count()
    clock = Clock()
    for _ in range(50):
        with clock.measure("compute"):
            pass
    assert len(clock._usage._cpu) == 2
    assert threading.active_count() <= before + 1


def test_the_thread_ends_between_blocks_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.runtime.usage.INTERVAL", 0.01)
    usage = Usage()
    for _ in range(2):
        looks = len(usage._cpu)
        with usage.measure():
            while len(usage._cpu) < looks + 4:
                time.sleep(0.01)
        while usage._is_watched:
            time.sleep(0.01)


def test_a_stage_that_computes_nothing_uses_nothing() -> None:
    clock = Clock()
    with clock.measure("store"):
        pass
    assert clock.timings().usage == {}
