"""What it means that this process is told to end.

SIGTERM comes when the run is cancelled, and it comes when the pod has to leave its node: drained, preempted, short of
memory. Kubernetes marks the pod with the condition `DisruptionTarget` before it sends the signal in the second case,
so that is what is looked at: a disrupted launcher leaves the job alone, any other takes it along. Where the pod cannot
be read the run counts as cancelled: a job that nobody wants is worse than one that has to begin again.

Inside a pipeline's pod there is a second, at most, between the signal and the end of the container, so all of it is
two short requests.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from components.contract.errors import InputError
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


def ends_the_job(cluster: Cluster) -> bool:
    """Whether the job has to end with this process: the run is cancelled, rather than this pod disrupted."""
    try:
        pod = cluster.own_pod(os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME", ""))
    except InputError:
        return True
    return not any(c.type == "DisruptionTarget" and c.status == "True" for c in pod.status.conditions or ())
