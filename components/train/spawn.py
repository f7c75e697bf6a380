"""Several training processes on this machine, with the environment that torchrun would give them."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress

from components.contract.errors import EXIT_BAD_INPUT
from components.runtime.processes import PARENT_VARIABLE, dies_with
from components.runtime.progress import EVENTS_VARIABLE

_LOOK_SECONDS = 0.2
_GRACE_SECONDS = 10.0


def spawn(words: Sequence[str], count: int) -> None:
    """Run `python -m components.train` with these words as `count` processes to their end.

    Torchrun itself would hide the one line about bad input below its own report of the failure. The first process
    prints to this one's streams; another one's output is shown only where that process failed first.

    Raises:
        SystemExit: with the status of the process that failed first.
    """
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    # The cores are divided among the processes, where torchrun would give each a single thread.
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // count)))
    command = [sys.executable, "-m", "components.train", *words]
    reports = os.environ.get(PARENT_VARIABLE)
    with tempfile.TemporaryFile() as others:
        running = []
        for rank in range(count):
            environment = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": threads,
            }
            if rank > 0:
                environment |= {EVENTS_VARIABLE: "", PARENT_VARIABLE: ""}
            output = others if rank > 0 else None
            running.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **environment},
                    stdout=output,
                    stderr=output,
                    pass_fds=[int(reports)] if reports and rank == 0 else [],
                    preexec_fn=dies_with(os.getpid()),
                )
            )
        try:
            failed = _first_failure(running)
        finally:
            for process in running:
                process.kill()
            for process in running:
                process.wait()
        if failed is None:
            return
        rank, status = failed
        if rank > 0:
            others.seek(0)
            sys.stderr.write(others.read().decode(errors="replace"))
        if status < 0:
            print(f"training process {rank} ended by {signal.Signals(-status).name}", file=sys.stderr, flush=True)
        raise SystemExit(status if status == EXIT_BAD_INPUT else 1)


def _first_failure(running: "list[subprocess.Popen[bytes]]") -> tuple[int, int] | None:
    """Wait for the processes; return (rank, exit status) of the first that failed, None where all succeeded."""
    while True:
        states = [process.poll() for process in running]
        for rank, status in enumerate(states):
            if status not in (None, 0):
                # All find the same mistake, and the first process's message is enough; it takes a while to end.
                with suppress(subprocess.TimeoutExpired):
                    if running[0].wait(_GRACE_SECONDS):
                        return 0, running[0].returncode
                assert status is not None
                return rank, status
        if all(status == 0 for status in states):
            return None
        time.sleep(_LOOK_SECONDS)
