"""The progress of a training job, followed to its end."""

import sys
import time
from dataclasses import dataclass

import urllib3
from kubeflow.trainer.constants.constants import NODE
from kubernetes.client import ApiException

from components.runtime.progress import note
from components.trainjob.job_pods import Node, nodes_of
from components.trainjob.kubernetes_api import Cluster, Job

_LOOK_SECONDS = 2.0


def follow(cluster: Cluster, name: str) -> Job | None:
    """Print the first node's log until the job ends; return None where the job was deleted.

    Before the job starts, the reason why it waits is printed whenever it changes.
    """
    log = _NodeLog(cluster)
    printed = ""
    while (job := cluster.job(name)) and not job.end:
        nodes = nodes_of(cluster.pods(name))
        waits = _waits(job, nodes)
        if waits and waits != printed:
            note(f"TrainJob {name}: {waits}")
        printed = waits or printed
        if not (nodes and nodes[0].index == 0 and not nodes[0].waits and log.read(nodes[0])):
            time.sleep(_LOOK_SECONDS)
    for node in nodes_of(cluster.pods(name))[:1] if job else ():
        log.read(node)
    return job


def _waits(job: Job, nodes: list[Node]) -> str:
    """Return why the job does not train yet; empty once it does."""
    if job.deleting:
        return "is being deleted"
    if job.reason:
        return f"waits ({job.reason})"
    if not nodes:
        return "waits for its pods"
    waiting = [node for node in nodes if node.waits]
    if not waiting:
        return ""
    others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return f"node {waiting[0].index}{others} of {len(nodes)}: {waiting[0].waits}"


@dataclass
class _NodeLog:
    """A node's log, read on from the last line printed, over several connections.

    Attributes:
        pod: uid of the pod whose log is read; the log of a pod that replaces it is read from its start.
        last: timestamp of the last line printed.
    """

    cluster: Cluster
    pod: str = ""
    last: str = ""

    def read(self, node: Node) -> bool:
        """Print new lines until the container ends or the connection breaks; return whether there were any."""
        if node.uid != self.pod:
            self.pod, self.last = node.uid, ""
        before = self.last
        try:
            for line in self.cluster.log(node.pod, NODE):
                stamp, _, text = line.partition(" ")
                # The whole log is read again: it is short, and clocks need not agree.
                if stamp > self.last:
                    self.last = stamp
                    print(text, file=sys.stderr, flush=True)
        except (ApiException, urllib3.exceptions.HTTPError):
            # The pod is gone or not running yet, or the connection broke; the job's state tells which.
            pass
        return self.last != before
