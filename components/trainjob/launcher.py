"""Training as a TrainJob: launched or found again, followed, and its end reported.

The launcher is a worker of the run with a heartbeat, for which the processes of its job look: where it is cancelled or
killed, and nobody starts it again, they end by themselves within two minutes.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from components.contract.errors import InputError
from components.runtime.clock import process_age
from components.runtime.failure import check_failure
from components.runtime.heartbeat import Heartbeat
from components.runtime.processes import tell_parent
from components.runtime.progress import note
from components.store import Attempt
from components.trainjob.job_nodes import first_failure, nodes_of
from components.trainjob.job_progress import JobProgress
from components.trainjob.job_submission import submit
from components.trainjob.kubernetes_api import Cluster, Job
from components.trainjob.run_watch import RunWatch
from components.trainjob.standby import Standby
from components.trainjob.training import Training

_GONE_SECONDS = 300.0
_LOOK_SECONDS = 2.0


class _Terminated(SystemExit):
    """SIGTERM, raised in the main thread."""


def launch(training: Training) -> None:
    """Train on the cluster; return once the job has succeeded.

    A running job is followed, unless it has other inputs or settings or belongs to a start that was cancelled: then it
    is replaced, as is one that has ended. A job that has ended is deleted: its policy is in the store, its log was
    printed.

    Raises:
        InputError: Kubernetes refuses or cannot be reached, the stage has found bad input, or the run is cancelled.
        SystemExit: 1 when the job failed or was deleted; 143 when this process received SIGTERM.
    """
    run, name = training.run, training.name
    run.require_not_cancelled()
    cluster = Cluster()
    # Nobody knows how long a job waits in a queue, so its own deadline bounds it, not the parent process.
    tell_parent("waiting")
    attempt = Attempt.claim(run.store, run.layout.launcher)
    with Heartbeat([attempt], process_age()) as heartbeat, Standby(name) as standby:
        try:
            with _sigterm_raises(), RunWatch(training):
                _ensure(cluster, training)
                standby.look()
                progress = JobProgress(cluster, name, heartbeat)
                _report(cluster, training, progress.follow(), progress)
        except _Terminated:
            standby.delete_unless_disrupted()
            raise
        except KeyboardInterrupt:
            follows = f"TrainJob {name} goes on for 100 s, in which the same command follows it again"
            note(f"{follows}; kubectl delete trainjob {name} ends it at once")
            raise


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Raise _Terminated inside the block on the first SIGTERM; further ones are ignored from then on."""

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated(143)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is terminate:
            signal.signal(signal.SIGTERM, before)


def _ensure(cluster: Cluster, training: Training) -> None:
    """Make sure that a job with this training and these settings is running."""
    name, digest = training.name, training.digest
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        job = cluster.job(name)
        if job is None:
            if submit(cluster, training):
                train = training.run.config.train
                note(f"TrainJob {name} is launched: {train.nodes} nodes of {train.processes} processes")
                return
        elif job.deleting:
            if time.monotonic() > deadline:
                raise InputError(f"TrainJob {name} is stuck in deletion: kubectl describe trainjob {name}")
            time.sleep(_LOOK_SECONDS)
        elif job.end:
            note(f"TrainJob {name} of an earlier start has ended ({job.end}) and is replaced")
            cluster.delete(job)
        elif job.task != digest:
            note(f"TrainJob {name} of an earlier start has other inputs or settings and is replaced")
            cluster.delete(job)
        else:
            note(f"TrainJob {name} is already running; following it")
            return


def _report(cluster: Cluster, training: Training, ended: Job | None, progress: JobProgress) -> None:
    name, committed = training.name, training.has_trained()
    nodes = nodes_of(cluster.pods(name)) if ended else []
    if ended:
        progress.print_other_logs(nodes)
        _clear_away(cluster, ended)
    if not committed:
        training.run.require_not_cancelled()
    if training.task is None:
        check_failure(training.run)
    if ended is None:
        if not committed:
            _fail(f"TrainJob {name} was deleted before its policy was committed")
    elif ended.end == "Complete":
        if training.task is None and not training.has_ended():
            _fail(f"TrainJob {name} has ended before everything was trained")
    elif committed:
        note(f"TrainJob {name} failed ({ended.reason}) after its policy was committed")
    else:
        for node in nodes:
            if node.message:
                raise InputError(node.message)
        failed = first_failure(nodes)
        why = f"node {failed.index} ended first, {failed.failure}" if failed else ""
        if progress.lost and not ended.reason.startswith("DeadlineExceeded"):
            why = progress.lost
        _fail("; ".join(filter(None, [f"TrainJob {name} failed: {ended.reason}", why])))


def _clear_away(cluster: Cluster, ended: Job) -> None:
    try:
        cluster.delete(ended)
    except InputError as error:
        # What it has committed is there all the same.
        note(str(error))


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)
