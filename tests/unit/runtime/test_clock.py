"""Timings of a stage."""

import subprocess
import sys
import time
from itertools import count

import pytest

from components.runtime.clock import Clock


def test_seconds_add_up_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(start=100.0, step=2.0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    clock = Clock()
    with clock.measure("load"):
        pass
    for _ in range(3):
        with clock.measure("compute"):
            pass
    with pytest.raises(KeyError), clock.measure("store"):
        raise KeyError
    assert (clock.seconds("load"), clock.seconds("compute"), clock.seconds("store")) == (2.0, 6.0, 2.0)
    timings = clock.timings()
    assert (timings.load, timings.compute, timings.store) == (2.0, 6.0, 2.0)
    assert timings.finished >= timings.started
    assert timings.started.tzinfo is not None


def test_the_start_of_the_process_counts_once() -> None:
    """The first stage of a process is charged its imports, a second one in the same process is not."""
    program = (
        "import time; begin = time.monotonic()\n"
        "while time.monotonic() - begin < 0.3: pass\n"
        "from components.runtime.clock import Clock\n"
        "print(Clock().timings().start, Clock().timings().start)"
    )
    begin = time.monotonic()
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = map(float, ran.stdout.split())
    # The kernel counts a process's start in ticks of 10 ms.
    assert 0.28 < first < time.monotonic() - begin + 0.02
    assert second == 0.0
