"""What it means that this process is told to end.

SIGTERM comes when the run is cancelled, and it comes when the pod has to leave its node: drained, preempted, short of
memory. Kubernetes marks the pod with the condition `DisruptionTarget` before it sends the signal in the second case,
so that is what is looked at: a disrupted launcher leaves the job alone, any other takes it along. Where the pod cannot
be read, or there is none, the run counts as cancelled: a job that nobody wants is worse than one that has to begin
again.

Inside a pipeline's pod there is a second, at most, between the signal and the end of the container, so all of it is
three short requests, none of which is tried again.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from components.contract.errors import InputError
from components.runtime.progress import note
from components.trainjob.cluster import Cluster


class Terminated(BaseException):
    """SIGTERM, raised wherever the main thread is."""


@contextmanager
def told_to_end() -> Iterator[None]:
    """Raise Terminated inside the block on the first SIGTERM; further ones are ignored from then on."""

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except Terminated:
        raise
    except BaseException:
        signal.signal(signal.SIGTERM, before)
        raise
    else:
        signal.signal(signal.SIGTERM, before)


def take_leave(name: str) -> None:
    """Delete the job, or leave it to the next start of this pod; says which, and never fails."""
    try:
        cluster = Cluster(hasty=True)
        if not _is_cancelled(cluster):
            note(
                f"this pod has to leave its node; TrainJob {name} goes on, and is followed when the stage starts again"
            )
            return
        if job := cluster.job(name):
            cluster.delete(job)
    except InputError as error:
        note(f"the run is cancelled, but TrainJob {name} may go on ({error}): kubectl delete trainjob {name}")
    else:
        note(f"the run is cancelled: TrainJob {name} is deleted")


def _is_cancelled(cluster: Cluster) -> bool:
    """Whether the run is cancelled, rather than this pod disrupted."""
    name = os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME")
    if not name:
        return True
    try:
        pod = cluster.own_pod(name)
    except InputError:
        return True
    return not any(c.type == "DisruptionTarget" and c.status == "True" for c in pod.status.conditions or ())
