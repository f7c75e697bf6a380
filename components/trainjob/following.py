"""Follows a training job to its end."""

import sys
import time
from dataclasses import dataclass

import urllib3
from kubeflow.trainer.constants.constants import NODE
from kubernetes.client import ApiException

from components.runtime.progress import note
from components.trainjob.cluster import Cluster, Job
from components.trainjob.pods import Node, nodes_of

_LOOK_SECONDS = 2.0


def follow(cluster: Cluster, name: str) -> Job | None:
    """Print what the first node's log says until the job ends; None where somebody has deleted it.

    What keeps it from starting is told as often as it changes.
    """
    log = _NodeLog(cluster)
    told = ""
    while (job := cluster.job(name)) and not job.end:
        nodes = nodes_of(cluster.pods(name))
        waits = _waits(job, nodes)
        if waits and waits != told:
            note(f"TrainJob {name}: {waits}")
        told = waits or told
        if not (nodes and nodes[0].index == 0 and not nodes[0].waits and log.read(nodes[0])):
            time.sleep(_LOOK_SECONDS)
    for node in nodes_of(cluster.pods(name))[:1] if job else ():
        log.read(node)
    return job


def _waits(job: Job, nodes: list[Node]) -> str:
    """Why the job does not train yet; empty once it does."""
    if job.leaving:
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
    """A log that is read on where it was left, whatever became of the connection.

    Attributes:
        pod: uid of the pod whose log is being read; a pod that replaces it begins anew.
        last: time stamp of the last line printed.
    """

    cluster: Cluster
    pod: str = ""
    last: str = ""

    def read(self, node: Node) -> bool:
        """Print what is new until the container ends or the connection breaks; whether there was anything."""
        if node.uid != self.pod:
            self.pod, self.last = node.uid, ""
        before = self.last
        try:
            for line in self.cluster.log(node.pod, NODE):
                stamp, _, text = line.partition(" ")
                # Whole logs are read again: a pod's log is short, and no clock has to agree with another.
                if stamp > self.last:
                    self.last = stamp
                    print(text, file=sys.stderr, flush=True)
        except (ApiException, urllib3.exceptions.HTTPError):
            # The pod is gone, or does not run yet, or the connection broke: the job's own state says what it is.
            pass
        return self.last != before
