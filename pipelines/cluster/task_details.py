"""The tasks of a run as Kubeflow lists them: the stage and iteration of each, and which of them failed.

Kubeflow copies them from the nodes of the workflow (kubeflow/pipelines, backend/src/apiserver/server/api_converter.go,
toModelTask): graphs, drivers and pods in one flat list, without parents and messages. A task of the pipeline is a graph
of its name with a pod named `executor` as its child. Children have names of nodes and pods have names of pods; both end
in the node's number. The children of a graph are the nodes that start it, so only the times tell which iteration a
stage belongs to. If the server does name parents, they are used.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import kfp_server_api as kfp
from kfp_server_api import V2beta1PipelineTaskDetail as Task

from pipelines.cluster.cluster_config import STAGES

_ITERATION = re.compile(r"iteration(-\d+)?")
_ATTEMPT = re.compile(r"\(\d+\)$")
_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class FailedTask:
    name: str
    message: str
    pod: str | None


class TaskDetails:
    """All tasks of a run."""

    def __init__(self, run: kfp.V2beta1Run) -> None:
        self.all: list[Task] = list((run.run_details.task_details if run.run_details else None) or [])
        self._by_id = {task.task_id: task for task in self.all}

    def stages(self) -> Iterable[tuple[str, Task]]:
        """Yield the graphs of the stages, each with its name and that of its iteration."""
        return ((self.name(task), task) for task in self.all if task.display_name in STAGES)

    def failed(self) -> list[FailedTask]:
        """Return the tasks that failed, without the graphs that contain them; the last of several attempts."""
        failed = [task for task in self.all if task.state == "FAILED"]
        parents = {task.parent_task_id for task in failed}
        own = [task for task in failed if not task.child_tasks and task.task_id not in parents]
        found = {}
        for task in own or failed:
            owner = self._owner(task)
            found[owner.task_id] = FailedTask(self.name(owner), _message(task.error), task.pod_name or None)
        return list(found.values())

    def name(self, task: Task) -> str:
        """Return a name such as `iteration-3 / train`."""
        if task.parent_task_id:
            return self._path(task)
        iteration = self._iteration(task)
        return f"{iteration.display_name} / {task.display_name}" if iteration else task.display_name or task.task_id

    def _owner(self, task: Task) -> Task:
        """Return the task of the pipeline that a pod, or an attempt of it, belongs to."""
        for _ in range(len(self.all)):
            if task.parent_task_id or _ATTEMPT.sub("", task.display_name or "") != "executor":
                break
            number = _number(task.pod_name)
            holders = (t for t in self.all if number and number in {_number(c.pod_name) for c in t.child_tasks or []})
            holder = next(holders, None)
            if holder is None:
                break
            task = holder
        return task

    def _iteration(self, task: Task) -> Task | None:
        """Return the iteration that was running when the task started."""
        started = task.create_time or _NEVER
        running = [
            other
            for other in self.all
            if other is not task
            and _ITERATION.fullmatch(other.display_name or "")
            and (other.create_time or _NEVER) <= started
            and ((other.end_time or _NEVER) <= _NEVER or other.end_time >= started)
        ]
        return max(running, key=lambda other: other.create_time or _NEVER, default=None)

    def _path(self, task: Task) -> str:
        names: list[str] = []
        node: Task | None = task
        while node is not None and len(names) < len(self.all):  # parents may form a cycle
            if node.display_name and node.display_name not in ("root", "executor"):
                names.append(node.display_name)
            node = self._by_id.get(node.parent_task_id) if node.parent_task_id else None
        return " / ".join(reversed(names)) or str(task.task_id)


def failure_message(run: kfp.V2beta1Run) -> str:
    """Return the server's message about a failed run."""
    return _message(run.error)


def _message(error: kfp.GoogleRpcStatus | None) -> str:
    return " ".join((error.message or "").split()) if error else ""


def _number(name: str | None) -> str:
    return (name or "").rpartition("-")[2]
