"""The supervisor of layout pod: the workers of all stages as its children.

On one machine it starts before the run is prepared, so that its workers import their libraries meanwhile. The task of
the pipeline then only hands over the run, through a socket, and waits.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from components.contract.section import StageName
from components.runtime.failure import report_failure
from components.runtime.guard import exit_on_bad_input
from components.runtime.parent import SCRATCH, Limits, run_children
from components.runtime.processes import Started
from components.runtime.progress import note
from components.runtime.scratch import remove_abandoned
from components.runtime.stage_process import stage_child
from components.runtime.warm import hand_over, start_warm
from components.store import Run, open_run

SOCKET_VARIABLE = "RAPID_POD_SOCKET"
"""Set where a supervisor runs already: the path of the Unix socket on which it waits for its run."""

STAGES: tuple[StageName, ...] = ("rollout", "reward", "train")


def run_stages(run_uri: str, limits: Limits) -> None:
    """Execute the whole loop of a prepared run, here or in the supervisor that waits for it.

    Raises:
        InputError: no such run.
        SystemExit: as `run_children`.
    """
    if path := os.environ.get(SOCKET_VARIABLE):
        status = _request(path, run_uri, limits)
        if status != 0:
            raise SystemExit(status)
    else:
        supervise(run_uri, limits, {})


def serve(listening: socket.socket) -> None:
    """Start the workers, wait for the run of one task, execute it and answer with the exit status.

    Raises:
        SystemExit: with that status.
    """
    warm = {stage: start_warm(stage) for stage in STAGES}
    connection, _ = listening.accept()
    listening.close()
    with connection:
        try:
            with exit_on_bad_input():
                request = json.loads(connection.makefile().readline())
                supervise(request["run_uri"], Limits.parse(request["limits"], "limits"), warm)
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        # The last thing this process does: the one that receives it may end it.
        connection.sendall(f"{status}\n".encode())
    raise SystemExit(status)


def supervise(run_uri: str, limits: Limits, warm: Mapping[StageName, Started]) -> None:
    """Run the workers of all stages to their end, and leave in the run why one has crashed for good.

    Args:
        warm: processes of `start_warm` by stage, which become the workers.

    Raises:
        InputError, SystemExit: as `run_stages`.
    """
    run = open_run(run_uri)
    if is_finished(run):
        remove_abandoned(SCRATCH)  # of a parent that was killed in its last moments
        return
    # With staleness 0 sampling and training take turns; otherwise both need their memory all the time.
    share = ["--share-gpu"] if run.config.loop.staleness == 0 else []
    options = {"rollout": share, "train": share}
    children = {stage: stage_child(run_uri, stage, limits, options=options.get(stage, [])) for stage in STAGES}
    for stage, started in warm.items():
        hand_over(started, children[stage])
    run_children(
        list(children.values()),
        limits,
        {children[stage].name: started for stage, started in warm.items()},
        lambda stage, reason: report_failure(run, cast(StageName, stage), reason),
    )


def is_finished(run: Run) -> bool:
    """Return whether nothing is left for the workers: every iteration is trained and the last policy evaluated."""
    if run.trained() < run.config.loop.iterations and not run.stopped():
        return False
    final = run.final_round()
    shards = range(run.config.rollout.shards)
    return all(run.directory(run.layout.reward(final, shard)).manifest() for shard in shards)


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield an address of a socket that is short enough for the kernel, however long the path of its folder is."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _request(path: str, run_uri: str, limits: Limits) -> int:
    """Hand a run over to the supervisor at a socket; return the exit status that it answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with socket_address(Path(path)) as address:
                connection.connect(address)
            request = {"run_uri": run_uri, "limits": limits.model_dump()}
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = connection.makefile().readline()
        except OSError:
            answer = ""
    if not answer:
        note("the process that supervises the stages has ended")
        return 1
    return int(answer)
