"""The end of the launcher by SIGTERM.

SIGTERM comes when the run is cancelled, and when the pod is moved from its node: drained, preempted, short of memory.
In the second case Kubernetes first marks the pod with the condition `DisruptionTarget`. A launcher with that mark
leaves the job alone, any other deletes it. Where the pod cannot be read, or there is none, the run counts as cancelled:
a job that nobody wants is worse than one that has to begin again.

A pipeline's container ends at most a second after the signal, so there are three short requests without retries.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from components.contract.errors import InputError
from components.runtime.progress import note
from components.trainjob.kubernetes_api import Cluster


class Terminated(BaseException):
    """SIGTERM, raised in the main thread."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
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


def delete_unless_disrupted(name: str) -> None:
    """Delete the job, or leave it to the next start of this pod; print which, and never fail."""
    try:
        cluster = Cluster(retry=False)
        if not _is_cancelled(cluster):
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


def _is_cancelled(cluster: Cluster) -> bool:
    """Return whether the run is cancelled, rather than this pod disrupted."""
    name = os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME")
    if not name:
        return True
    try:
        pod = cluster.own_pod(name)
    except InputError:
        return True
    return not any(c.type == "DisruptionTarget" and c.status == "True" for c in pod.status.conditions or ())
