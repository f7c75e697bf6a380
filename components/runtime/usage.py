"""What a stage uses of its machine while it computes, under the names of MLflow's system metrics."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from statistics import fmean
from typing import Any

import psutil

from components.runtime.background import Background
from components.runtime.cores import usable_cores

INTERVAL = 5.0
"""Seconds between two looks."""

_MEGABYTE = 1e6


class Usage:
    """Looks at this process, those below it, and the GPUs, from the first block of computing on."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, float]] = []
        """The moment, and the CPU seconds used until then."""
        self._samples: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Look every `INTERVAL` seconds during a block; blocks may be many and short."""
        if not self._looks or time.monotonic() - self._looks[-1][0] >= INTERVAL:
            self.look()
        with _Watch(self):
            yield

    def look(self) -> None:
        cpu_seconds, resident = 0.0, 0
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.Error), process.oneshot():  # it may end meanwhile
                times = process.cpu_times()
                cpu_seconds += times.user + times.system + times.children_user + times.children_system
                resident += process.memory_info().rss
        self._looks.append((time.monotonic(), cpu_seconds))
        for name, value in {"memory_usage_megabytes": resident / _MEGABYTE, **_gpu_usage()}.items():
            self._samples[name].append(value)

    def values(self) -> dict[str, float]:
        """Return the use of processor cores and GPUs in percent (mean), and of memory in megabytes (most seen).

        Cores are all that this process may use; memory that processes share counts for each. GPUs are those that the
        machine, or the container, shows. Empty where nothing was computed.
        """
        if not self._looks:
            return {}
        self.look()
        (began, cpu_before), (ended, cpu_after) = self._looks[0], self._looks[-1]
        # Processes that were killed meanwhile may have taken their count with them.
        cores = max(0.0, cpu_after - cpu_before) / ((ended - began) * usable_cores())
        found = {"cpu_utilization_percentage": 100.0 * cores}
        for name, samples in self._samples.items():
            found[name] = max(samples) if name.endswith("megabytes") else fmean(samples)
        return {name: round(value, 2) for name, value in found.items()}


class _Watch(Background):
    def __init__(self, usage: Usage) -> None:
        super().__init__()
        self._usage = usage

    def _watch(self) -> None:
        while not self._left.wait(INTERVAL):
            self._usage.look()


def _gpu_usage() -> dict[str, float]:
    nvml, found = _nvml(), {}
    for number, handle in enumerate(_gpus()):
        with suppress(nvml.NVMLError):
            found[f"gpu_{number}_utilization_percentage"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            found[f"gpu_{number}_memory_usage_megabytes"] = nvml.nvmlDeviceGetMemoryInfo(handle).used / _MEGABYTE
    return found


@cache
def _gpus() -> list[Any]:
    nvml = _nvml()
    if nvml is None:
        return []
    try:
        nvml.nvmlInit()
        return [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:  # no driver
        return []


@cache
def _nvml() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml
