"""Use of the machine by a stage while it computes, named like MLflow's system metrics."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from statistics import fmean
from typing import Any

import psutil

from components.runtime.cores import usable_cores

INTERVAL = 5.0
"""Seconds between two looks during a block."""

BETWEEN_BLOCKS = 1.0
"""Seconds after a look in which the end of a block needs no other one."""

_MEGABYTE = 1e6


class Usage:
    """Looks at this process, those below it, and the GPUs, from the first block of computing to the end of the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cpu: list[tuple[float, float]] = []
        """The moment of each look, and the CPU seconds used until then."""
        self._samples: dict[str, list[float]] = defaultdict(list)
        self._inside = self._is_watched = False

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Look during a block, and at its end; blocks may be many and short."""
        if not self._cpu:
            self._look_at_processes()
        with self._lock:
            self._inside = True
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch, name=type(self).__name__, daemon=True).start()
        try:
            yield
            if len(self._cpu) < 2 or time.monotonic() - self._cpu[-1][0] >= BETWEEN_BLOCKS:
                self.look()
        finally:
            self._inside = False

    def look(self) -> None:
        self._look_at_processes()
        gpus = _gpu_usage()
        with self._lock:
            for name, value in gpus.items():
                self._samples[name].append(value)

    def values(self) -> dict[str, float]:
        """Return the use of processor cores and GPUs in percent (mean), and of memory in megabytes (the highest seen).

        Cores are all that this process may use; memory that processes share counts for each. GPUs are those that the
        machine, or the container, shows. Empty where nothing was computed.
        """
        with self._lock:
            if len(self._cpu) < 2:
                return {}
            (began, before), (ended, after) = self._cpu[0], self._cpu[-1]
            # Processes that were killed meanwhile may have taken their count with them.
            cores = max(0.0, after - before) / max((ended - began) * usable_cores(), 1e-9)
            found = {"cpu_utilization_percentage": 100.0 * cores}
            for name, samples in self._samples.items():
                found[name] = max(samples) if name.endswith("megabytes") else fmean(samples)
        return {name: round(value, 2) for name, value in found.items()}

    def _look_at_processes(self) -> None:
        cpu_seconds, resident = 0.0, 0
        for process in _processes():
            with suppress(psutil.Error, OSError), process.oneshot():  # it may end meanwhile
                times = process.cpu_times()
                cpu_seconds += times.user + times.system + times.children_user + times.children_system
                resident += process.memory_info().rss
        with self._lock:
            self._cpu.append((time.monotonic(), cpu_seconds))
            self._samples["memory_usage_megabytes"].append(resident / _MEGABYTE)

    def _watch(self) -> None:
        """Look during blocks until there is none: short ones share a thread, which costs more than they do."""
        while True:
            time.sleep(INTERVAL)
            with self._lock:
                self._is_watched = self._inside
                if not self._is_watched:
                    return
            self.look()


def _processes() -> list[psutil.Process]:
    """Return this process and all below it; this one alone where /proc does not show others."""
    own = psutil.Process()
    try:
        return [own, *own.children(recursive=True)]
    except (psutil.Error, OSError):
        return [own]


def _gpu_usage() -> dict[str, float]:
    """Return what the GPUs tell of themselves: parts of one (MIG) tell their memory only."""
    nvml, found = _nvml(), {}
    for number, handle in _gpus().items():
        with suppress(nvml.NVMLError):
            found[f"gpu_{number}_utilization_percentage"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        with suppress(nvml.NVMLError):
            found[f"gpu_{number}_memory_usage_megabytes"] = nvml.nvmlDeviceGetMemoryInfo(handle).used / _MEGABYTE
    return found


@cache
def _gpus() -> dict[int, Any]:
    """Return handles of the GPUs by number."""
    nvml, found = _nvml(), {}
    if nvml is None:
        return {}
    try:
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:  # no driver
        return {}
    for number in range(count):
        with suppress(nvml.NVMLError):
            found[number] = nvml.nvmlDeviceGetHandleByIndex(number)
    return found


@cache
def _nvml() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml
