"""The tasks of a run as Kubeflow lists them: a hint only, for machines that cannot read the run's store.

Kubeflow copies them from the nodes of the workflow: graphs, drivers, pods and tries of each in one flat list, without
parents and messages. A task of the pipeline has its name, its tries have a number behind it. Only the times tell which
iteration a stage belongs to. Once a workflow is so large that Argo compresses its nodes, the list stays as it was.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

import kfp_server_api as kfp
from kfp_server_api import V2beta1PipelineTaskDetail as Task

from pipelines.cluster.cluster_config import STAGES

_TASKS = {*STAGES, "pod", "train-job"}
_ITERATION = re.compile(r"iteration(-\d+)?")
_TRY = re.compile(r"\(\d+(:\d+)?\)")
_NEVER = datetime.fromtimestamp(0, UTC)


class TaskDetails:
    """All tasks of a run."""

    def __init__(self, run: kfp.V2beta1Run) -> None:
        self.all: list[Task] = list((run.run_details.task_details if run.run_details else None) or [])

    def stages(self) -> Iterable[tuple[str, Task]]:
        """Yield the tasks of the pipeline, each with its name and that of its iteration."""
        return ((self._name(task), task) for task in self.all if task.display_name in _TASKS)

    def failed(self) -> list[str]:
        """Return the names of the tasks that failed; where none did, of what else failed with nothing below it."""
        failed = [task for task in self.all if task.state == "FAILED"]
        names = [self._name(task) for task in failed if task.display_name in _TASKS]
        others = [_TRY.sub("", task.display_name or "") for task in failed if not task.child_tasks]
        return list(dict.fromkeys(names or others))

    def _name(self, task: Task) -> str:
        """Return a name such as `iteration-3 / train`."""
        iteration = self._iteration(task)
        return f"{iteration.display_name} / {task.display_name}" if iteration else str(task.display_name)

    def _iteration(self, task: Task) -> Task | None:
        """Return the iteration that was running when the task started."""
        started = task.start_time or _NEVER
        running = [
            other
            for other in self.all
            if _ITERATION.fullmatch(other.display_name or "")
            and (other.start_time or _NEVER) <= started
            and ((other.end_time or _NEVER) <= _NEVER or other.end_time >= started)
        ]
        return max(running, key=lambda other: other.start_time or _NEVER, default=None)


def failure_message(run: kfp.V2beta1Run) -> str:
    """Return the server's message about a failed run."""
    return " ".join((run.error.message or "").split()) if run.error else ""
