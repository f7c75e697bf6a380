"""The seconds of a stage, by activity, and what it uses meanwhile."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

from components.contract.manifest import Timings, now
from components.runtime.usage import Usage

Kind = Literal["load", "compute", "store"]


class Clock:
    """Started when a stage begins; `timings()` goes into its manifest."""

    def __init__(self) -> None:
        self._started = now()
        self._start = process_age()
        self._seconds: dict[Kind, float] = {"load": 0.0, "compute": 0.0, "store": 0.0}
        self._usage = Usage()

    @contextmanager
    def measure(self, kind: Kind) -> Iterator[None]:
        with self._usage.measure() if kind == "compute" else nullcontext():
            begin = time.perf_counter()
            try:
                yield
            finally:
                self._seconds[kind] += time.perf_counter() - begin

    def seconds(self, kind: Kind) -> float:
        return self._seconds[kind]

    def timings(self) -> Timings:
        return Timings(
            started=self._started,
            finished=now(),
            start=self._start,
            usage=self._usage.values(),
            **self._seconds,
        )


_stages_begun = 0


def process_age() -> float:
    """Return the seconds since this process started when called first, later 0: start-up counts once."""
    global _stages_begun
    _stages_begun += 1
    if _stages_begun > 1:
        return 0.0
    stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    start_ticks = int(stat.rpartition(")")[2].split()[19])
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / os.sysconf("SC_CLK_TCK"))
