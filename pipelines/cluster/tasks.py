"""The tasks of a run, as Kubeflow lists them: which stage of which iteration each one is, and which failed.

Kubeflow copies them from the nodes of the workflow (kubeflow/pipelines, backend/src/apiserver/server/api_converter.go,
toModelTask): graphs, drivers and pods in one flat list, without parents and without messages. A task of the pipeline is
a graph named after it, whose child is a pod named `executor`. Children are named by node, and pods by pod: both end in
the node's number. A graph's children are those that start it, so of an iteration and its stages only the times say
which belongs to which. Servers that do name parents are believed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import kfp_server_api as kfp
from kfp_server_api import V2beta1PipelineTaskDetail as Task

STAGES = ("prepare", "rollout", "reward", "train", "publish")
_ITERATION = re.compile(r"iteration(-\d+)?")
_ATTEMPT = re.compile(r"\(\d+\)$")
_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class FailedTask:
    name: str
    message: str
    pod: str | None


class Tasks:
    """All tasks of a run."""

    def __init__(self, run: kfp.V2beta1Run) -> None:
        self.all: list[Task] = list((run.run_details.task_details if run.run_details else None) or [])
        self._by_id = {task.task_id: task for task in self.all}

    def stages(self) -> Iterable[tuple[str, Task]]:
        """The graphs of stages, each with its name and that of its iteration."""
        return ((self.name(task), task) for task in self.all if task.display_name in STAGES)

    def failed(self) -> list[FailedTask]:
        """The tasks that failed themselves, without the graphs around them; of several attempts the last."""
        failed = [task for task in self.all if task.state == "FAILED"]
        parents = {task.parent_task_id for task in failed}
        own = [task for task in failed if not task.child_tasks and task.task_id not in parents]
        found = {}
        for task in own or failed:
            owner = self._owner(task)
            found[owner.task_id] = FailedTask(self.name(owner), _message(task.error), task.pod_name or None)
        return list(found.values())

    def name(self, task: Task) -> str:
        """Such as `iteration-3 / train`."""
        if task.parent_task_id:
            return self._path(task)
        iteration = self._iteration(task)
        return f"{iteration.display_name} / {task.display_name}" if iteration else task.display_name or task.task_id

    def _owner(self, task: Task) -> Task:
        """The task of the pipeline that a pod, or one of its attempts, belongs to."""
        round_ = task
        for _ in range(len(self.all)):
            if round_.parent_task_id or _ATTEMPT.sub("", round_.display_name or "") != "executor":
                break
            number = _number(round_.pod_name)
            holders = (t for t in self.all if number and number in {_number(c.pod_name) for c in t.child_tasks or []})
            holder = next(holders, None)
            if holder is None:
                break
            round_ = holder
        return round_

    def _iteration(self, task: Task) -> Task | None:
        """The iteration that went on when the task began."""
        begun = task.create_time or _NEVER
        holding = [
            other
            for other in self.all
            if other is not task
            and _ITERATION.fullmatch(other.display_name or "")
            and (other.create_time or _NEVER) <= begun
            and ((other.end_time or _NEVER) <= _NEVER or other.end_time >= begun)
        ]
        return max(holding, key=lambda other: other.create_time or _NEVER, default=None)

    def _path(self, task: Task) -> str:
        names: list[str] = []
        round_: Task | None = task
        while round_ is not None and len(names) < len(self.all):  # parents may go round in a circle
            if round_.display_name and round_.display_name not in ("root", "executor"):
                names.append(round_.display_name)
            round_ = self._by_id.get(round_.parent_task_id) if round_.parent_task_id else None
        return " / ".join(reversed(names)) or str(task.task_id)


def failure_message(run: kfp.V2beta1Run) -> str:
    """What the server says of a run that failed as a whole."""
    return _message(run.error)


def _message(error: kfp.GoogleRpcStatus | None) -> str:
    return " ".join((error.message or "").split()) if error else ""


def _number(name: str | None) -> str:
    return (name or "").rpartition("-")[2]
