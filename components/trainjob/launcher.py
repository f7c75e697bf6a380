"""Training as a TrainJob: launched or found again, followed, and its end reported.

SIGTERM comes when the run is cancelled, and when the pod is moved from its node: drained, preempted, short of memory.
In the second case Kubernetes first marks the pod with the condition `DisruptionTarget`. A launcher with that mark
leaves the job alone, any other deletes it. Where the pod cannot be read, or there is none, the run counts as cancelled:
a job that nobody wants is worse than one that has to begin again.

A pipeline's container ends at most a second after the signal, so there are three short requests without retries.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

from components.contract.errors import InputError
from components.runtime.failure import check_failure
from components.runtime.processes import tell_parent
from components.runtime.progress import note
from components.trainjob.job_progress import first_failure, follow, nodes_of
from components.trainjob.job_submission import submit
from components.trainjob.kubernetes_api import Cluster, Job
from components.trainjob.run_watch import RunWatch
from components.trainjob.training import Training

_GONE_SECONDS = 300.0
_LOOK_SECONDS = 2.0
_TAIL_LINES = 30


class _Terminated(SystemExit):
    """SIGTERM, raised in the main thread."""


def launch(training: Training) -> None:
    """Train on the cluster; return once the job has succeeded.

    A running job is followed, unless it has other inputs or settings: then a killed launcher has left it behind, and it
    is replaced, as is one that has ended without a policy. A job that succeeded is deleted, because its policy is in
    the store; one that failed stays for inspection.

    Raises:
        InputError: Kubernetes refuses or cannot be reached, or the stage has found bad input.
        SystemExit: 1 when the job failed or was deleted; 143 when this process received SIGTERM.
    """
    cluster, name = Cluster(), training.name
    # Nobody knows how long a job waits in a queue, so its own deadline bounds it, not the parent process.
    tell_parent("waiting")
    watch = nullcontext() if training.task else RunWatch(training.run, name, training.settings.deadline_seconds)
    try:
        with _sigterm_raises(), watch:
            _ensure(cluster, training)
            _report(cluster, training, follow(cluster, name))
    except _Terminated:
        _delete_unless_disrupted(name)
        raise
    except KeyboardInterrupt:
        note(f"TrainJob {name} keeps running; the same command follows it, kubectl delete trainjob {name} ends it")
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


def _report(cluster: Cluster, training: Training, ended: Job | None) -> None:
    name, committed = training.name, training.has_trained()
    if training.task is None:
        check_failure(training.run)
    if ended is None:
        if not committed:
            _fail(f"TrainJob {name} was deleted before its policy was committed")
    elif ended.end == "Complete":
        if training.has_ended():
            try:
                cluster.delete(ended)
            except InputError as error:
                # The policy is committed all the same.
                note(str(error))
        elif training.task is None:
            _fail(f"TrainJob {name} has ended before everything was trained")
    elif committed:
        note(f"TrainJob {name} failed ({ended.reason}) after its policy was committed")
    else:
        nodes = nodes_of(cluster.pods(name))
        for node in nodes:
            if node.message:
                raise InputError(node.message)
        failed = first_failure(nodes)
        # The log of node 0 was printed while it was followed.
        if failed and failed.index > 0:
            for line in cluster.log_tail(failed.pod, "node", _TAIL_LINES):
                print(f"node {failed.index}: {line}", file=sys.stderr, flush=True)
        which = f"; node {failed.index} ended first, {failed.failure}" if failed else ""
        _fail(f"TrainJob {name} failed: {ended.reason}{which}")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def _delete_unless_disrupted(name: str) -> None:
    """Delete the job, or leave it to the next start of this pod; print which, and never fail."""
    try:
        cluster = Cluster(retry=False)
        if _is_disrupted(cluster):
            note(
                f"this pod is moved from its node; TrainJob {name} goes on, and is followed when the stage starts again"
            )
            return
        if job := cluster.job(name):
            cluster.delete(job)
    except InputError as error:
        note(f"the run is cancelled, but TrainJob {name} may go on ({error}): kubectl delete trainjob {name}")
    else:
        note(f"the run is cancelled: TrainJob {name} is deleted")


def _is_disrupted(cluster: Cluster) -> bool:
    """Return whether this pod is moved from its node; False where that cannot be seen."""
    name = os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME")
    try:
        conditions = cluster.own_pod(name).status.conditions if name else None
    except InputError:
        return False
    return any(c.type == "DisruptionTarget" and c.status == "True" for c in conditions or ())
