"""The pods of a training job."""

from dataclasses import dataclass

from kubeflow.trainer.constants.constants import JOB_INDEX_LABEL, NODE
from kubernetes.client import V1ContainerStatus, V1Pod


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
    failed = [node for node in nodes if node.ended]
    return min(failed, key=lambda node: node.ended, default=None)


def _node(index: int, pod: V1Pod) -> Node:
    container = next((status for status in pod.status.container_statuses or () if status.name == NODE), None)
    node = Node(index, pod.metadata.name, pod.metadata.uid, _waits(pod, container))
    ended = container.state.terminated if container and container.state else None
    if ended is None or ended.exit_code == 0:
        return node
    named = ended.reason if ended.reason not in (None, "Error", "Completed") else ""
    status = f"exit status {ended.exit_code}"
    return Node(
        index,
        node.pod,
        node.uid,
        waits="",
        ended=ended.finished_at.isoformat() if ended.finished_at else "-",
        failure=f"{named} ({status})" if named else status,
        message=(ended.message or "").strip(),
    )


def _waits(pod: V1Pod, container: V1ContainerStatus | None) -> str:
    state = container.state if container else None
    if state and (state.running or state.terminated):
        return ""
    if state and state.waiting and state.waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
        return ": ".join(filter(None, [state.waiting.reason, state.waiting.message]))
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return ": ".join(filter(None, [condition.reason, condition.message]))
    return "starting"
