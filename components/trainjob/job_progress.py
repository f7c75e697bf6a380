"""The progress of a training job: its pods and their logs, followed to its end."""

import sys
import time
from dataclasses import dataclass, replace

import urllib3
from kubeflow.trainer.constants.constants import JOB_INDEX_LABEL, NODE
from kubernetes.client import ApiException, V1ContainerStatus, V1Pod

from components.runtime.progress import note
from components.trainjob.kubernetes_api import Cluster, Job

_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Node:
    """One node of a job: the newest pod of its index.

    Attributes:
        index: of the node; the first training process is on node 0.
        waits: why its container does not run yet; empty once it does.
        ended: when its container failed, in a form that sorts; empty where it has not.
        failure: Kubernetes' reason, or the exit status.
        message: the stage's message about bad input; empty where there is none.
    """

    index: int
    pod: str
    uid: str
    waits: str
    ended: str = ""
    failure: str = ""
    message: str = ""


def follow(cluster: Cluster, name: str) -> Job | None:
    """Print the first node's log until the job ends; return None where the job was deleted.

    Before the job starts, the reason why it waits is printed whenever it changes.
    """
    log = _NodeLog(cluster)
    printed = ""
    while (job := cluster.job(name)) and not job.end:
        nodes = nodes_of(cluster.pods(name))
        waits = _job_waits(job, nodes)
        if waits and waits != printed:
            note(f"TrainJob {name}: {waits}")
            printed = waits
        if not (nodes and nodes[0].index == 0 and not nodes[0].waits and log.read(nodes[0])):
            time.sleep(_LOOK_SECONDS)
    for node in nodes_of(cluster.pods(name))[:1] if job else ():
        log.read(node)
    return job


def _job_waits(job: Job, nodes: list[Node]) -> str:
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


def nodes_of(pods: list[V1Pod]) -> list[Node]:
    """Return the nodes by index. `pods` come newest first, so the first of an index replaces the others."""
    newest: dict[int, V1Pod] = {}
    for pod in pods:
        index = (pod.metadata.labels or {}).get(JOB_INDEX_LABEL)
        if index is not None:
            newest.setdefault(int(index), pod)
    return [_node(index, pod) for index, pod in sorted(newest.items())]


def first_failure(nodes: list[Node]) -> Node | None:
    """Return the node that failed first, which is mostly why the others did."""
    return min((node for node in nodes if node.ended), key=lambda node: node.ended, default=None)


def _node(index: int, pod: V1Pod) -> Node:
    container = next((status for status in pod.status.container_statuses or () if status.name == NODE), None)
    node = Node(index, pod.metadata.name, pod.metadata.uid, _pod_waits(pod, container))
    ended = container.state.terminated if container and container.state else None
    if ended is None or ended.exit_code == 0:
        return node
    status = f"exit status {ended.exit_code}"
    return replace(
        node,
        ended=ended.finished_at.isoformat() if ended.finished_at else "-",
        failure=status if ended.reason in (None, "Error", "Completed") else f"{ended.reason} ({status})",
        message=(ended.message or "").strip(),
    )


def _pod_waits(pod: V1Pod, container: V1ContainerStatus | None) -> str:
    state = container.state if container else None
    if state and (state.running or state.terminated):
        return ""
    if state and state.waiting and state.waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
        return ": ".join(filter(None, [state.waiting.reason, state.waiting.message]))
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return ": ".join(filter(None, [condition.reason, condition.message]))
    return "starting"


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
