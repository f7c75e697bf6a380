"""The number of processor cores that this process may use."""

import math
import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cpu_max: Path = _CPU_MAX) -> int:
    """Return the cores that this process may run on, at most a container's CPU limit, rounded up.

    A pod with a limit of 2 CPUs sees every core of its node.

    Args:
        cpu_max: cgroup v2 file of quota and period in microseconds, `max 100000` where there is no limit.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or no limit
        return cores
