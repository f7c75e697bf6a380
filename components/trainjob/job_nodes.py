"""The nodes of a training job, as its pods show them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from kubeflow.trainer.constants.constants import JOB_INDEX_LABEL, NODE
from kubernetes.client import V1ContainerStatus, V1Pod

_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Node:
    """One node of a job: the newest pod of its index.

    Attributes:
        index: of the node; the first training process is on node 0.
        host: the machine that the pod is on; empty while it is on none.
        waits: why its container does not run yet; empty once it does.
        deleted: when somebody asked to delete the pod; None where nobody has.
        ended: when its container failed; None where it has not.
        failure: Kubernetes' reason, or the exit status.
        message: the stage's message about bad input; empty where there is none.
    """

    index: int
    pod: str
    uid: str
    host: str
    waits: str
    deleted: datetime | None = None
    ended: datetime | None = None
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
    return min((node for node in nodes if node.ended), key=lambda node: node.ended or _LAST, default=None)


def _node(index: int, pod: V1Pod) -> Node:
    container = next((status for status in pod.status.container_statuses or () if status.name == NODE), None)
    metadata = pod.metadata
    asked = metadata.deletion_timestamp  # the moment at which its time to end is over
    if asked:
        asked -= timedelta(seconds=metadata.deletion_grace_period_seconds or 0)
    node = Node(index, metadata.name, metadata.uid, pod.spec.node_name or "", _pod_waits(pod, container), deleted=asked)
    ended = container.state.terminated if container and container.state else None
    if ended is None or ended.exit_code == 0:
        return node
    status = f"exit status {ended.exit_code}"
    return replace(
        node,
        ended=ended.finished_at or _LAST,
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
