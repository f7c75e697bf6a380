"""The tasks of a run as Kubeflow lists them: a hint only, for machines that cannot read the run's store.

Kubeflow copies them from the nodes of Argo's workflow: graphs, drivers, pods and tries of each in one flat list,
without messages. Every `create_time` is the workflow's. Once a workflow is so large that Argo compresses its nodes, the
list stays as it was.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import kfp_server_api as kfp
from kfp_server_api import V2beta1PipelineTaskDetail as Task

from pipelines.cluster.cluster_config import STAGES
from pipelines.cluster.workflow_nodes import Node, find_nodes

_STAGE_OF: dict[str | None, str] = {**dict(zip(STAGES, STAGES, strict=True)), "pod": "pod", "train-job": "train"}
_CONDITION = re.compile(r"condition-(\d+)")
_ITEM = re.compile(r"\((\d+):\d+\)$")
_TRY = re.compile(r"\(\d+\)$")
_DRIVER = "-driver"
_EXECUTOR = "executor"
_WAITING = timedelta(minutes=2)
_CERTAIN_NODES = 90
"""Nodes that Argo does not compress yet: a recorded list of 120 was the last."""

DRIVER_CAUSES = (
    "drivers fail where the run's service account does not exist, where a parameter is invalid, or where Kubeflow's "
    "own storage is away"
)


@dataclass(frozen=True)
class WaitingPod:
    """A pod that has not started for two minutes or more.

    Attributes:
        name: its task, such as `iteration 2, rollout, shard 1`; where several were made at the same moment and one of
            them waits, all of these.
        stage: None for a driver, and where it is not certain.
    """

    name: str
    minutes: int
    stage: str | None


class TaskDetails:
    """All tasks of a run."""

    def __init__(self, run: kfp.V2beta1Run) -> None:
        self._tasks: list[Task] = list((run.run_details.task_details if run.run_details else None) or [])
        self._nodes = list(find_nodes(self._tasks))
        items = {match[1] for node in self._nodes for part in node.path if (match := _ITEM.search(part))}
        self._several_shards = len(items) > 1

    def stages(self) -> Iterator[tuple[str, Task]]:
        """Yield the tasks of the pipeline in the order of their start, each with a name for people."""
        found = [node for node in self._nodes if node.task.display_name in _STAGE_OF]
        for node in sorted(found, key=lambda node: node.task.start_time):
            yield self._name(node.path), node.task

    def failed(self) -> list[str]:
        """Return the names of the tasks that failed."""
        return list(dict.fromkeys(name for name, task in self.stages() if task.state == "FAILED"))

    def failed_drivers(self) -> list[str]:
        """Return what the drivers that failed were to start, outermost first."""
        failed = [node for node in self._nodes if node.path[-1].endswith(_DRIVER) and node.task.state == "FAILED"]
        return list(dict.fromkeys(self._name(node.path) for node in failed))

    def failures(self) -> list[str]:
        """Return a sentence for each task that failed, else for each driver; nothing where Kubeflow names neither."""
        if failed := self.failed():
            return [f"{name} failed without leaving a reason" for name in failed]
        return [f"the driver of {name} failed: {DRIVER_CAUSES}" for name in self.failed_drivers()]

    def waiting(self, moment: datetime | None = None) -> list[WaitingPod]:
        """Return the pods that have not started for two minutes; none of a large workflow, whose list may be old."""
        if len(self._tasks) > _CERTAIN_NODES:
            return []
        moment = moment or datetime.now(UTC)
        pending = [t for t in self._tasks if t.state == "PENDING" and _TRY.search(t.display_name or "")]
        late = [task for task in pending if moment - task.start_time >= _WAITING]
        found: list[WaitingPod] = []
        for display in dict.fromkeys(_TRY.sub("", task.display_name) for task in late):
            pods = [task for task in late if _TRY.sub("", task.display_name) == display]
            minutes = int((moment - min(task.start_time for task in pods)).total_seconds() // 60)
            # A pod names nothing, so its own place is not known; but what starts it is running.
            above = [n for n in self._nodes if n.task.display_name == display and n.task.state == "RUNNING"]
            above = [node for node in above if any(node.task.start_time <= pod.start_time for pod in pods)]
            found += self._waiting_pods(above, len(pods), minutes)
        return found

    def _waiting_pods(self, above: Sequence[Node], count: int, minutes: int) -> Iterable[WaitingPod]:
        names = [f"the driver of {self._name(n.path)}" if _is_driver(n) else self._name(n.path) for n in above]
        if len(above) > count:
            return [WaitingPod(f"{count} of {'; '.join(names)}", minutes, None)]
        stages = [None if _is_driver(node) else _stage(node.path) for node in above]
        return [WaitingPod(name, minutes, stage) for name, stage in zip(names, stages, strict=True)]

    def _name(self, path: Sequence[str]) -> str:
        """Return a name such as `iteration 2, rollout, shard 1`."""
        # Each iteration's block is inside that of the one before.
        iterations = [int(match[1]) for part in path if (match := _CONDITION.fullmatch(part))]
        items = [match[1] for part in path if (match := _ITEM.search(part))]
        last = path[-1].removesuffix(_DRIVER)
        stage = _stage(path)
        parts = [
            *([f"iteration {max(iterations)}"] if iterations and last not in ("evaluation", "loop") else []),
            *(["evaluation"] if "evaluation" in path and stage not in (None, "publish") else []),
            *([stage] if stage else [] if iterations else ["the run" if last in ("root", "loop") else last]),
            *([f"shard {items[-1]}"] if items and self._several_shards else []),
        ]
        return ", ".join(parts)


def _stage(path: Sequence[str]) -> str | None:
    """Return the stage that a node belongs to, None for those that hold several."""
    last = path[-2] if path[-1] == _EXECUTOR and len(path) > 1 else path[-1]
    return _STAGE_OF.get(last.removesuffix(_DRIVER))


def _is_driver(node: Node) -> bool:
    return node.path[-1].endswith(_DRIVER)
