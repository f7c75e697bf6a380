"""The reasons to delete a running job: a cancelled run, a failure elsewhere, an iteration that takes too long."""

import time

from components.contract.errors import InputError
from components.runtime.background import Background
from components.runtime.failure import read_failure
from components.runtime.heartbeat import Beat, read_beat
from components.runtime.processes import tell_parent
from components.runtime.progress import note
from components.store import RunCancelled
from components.tracking import sync
from components.trainjob.kubernetes_api import Cluster
from components.trainjob.training import Training

_LOOK_SECONDS = 10.0


class RunWatch(Background):
    """Deletes a job that is no longer wanted; reports each commit of a whole run to the parent process and MLflow.

    A job is not wanted where the run is cancelled; one for a whole run also where another worker has failed, or where
    it works on one iteration for longer than its settings allow. A context manager.
    """

    def __init__(self, training: Training) -> None:
        super().__init__()
        self._run, self._job, self._is_whole = training.run, training.name, training.task is None
        self._limit = training.settings.deadline_seconds if self._is_whole else 0

    def _watch(self) -> None:
        before: Beat | None = None
        since = time.monotonic()
        while not self._left.wait(_LOOK_SECONDS):
            try:
                beat = read_beat(self._run.store, self._run.layout.worker("train"))
                unwanted = self._is_unwanted()
            except InputError:
                continue  # the store does not answer; the job finds out too
            if beat is None or before is None or _activity(beat) != _activity(before):
                since = time.monotonic()
                if beat and before and beat.attempt == before.attempt and before.state == "working":
                    tell_parent("committed")
                    sync(self._run)
            elif beat.state == "working" and self._limit and time.monotonic() - since > self._limit:
                note(f"TrainJob {self._job} has worked on {beat.detail} for {self._limit / 60:.3g} min and is deleted")
                unwanted = True
            before = beat
            if unwanted:
                self._delete()
                since = time.monotonic()

    def _is_unwanted(self) -> bool:
        try:
            self._run.require_not_cancelled()
        except RunCancelled:
            return True
        return self._is_whole and read_failure(self._run) is not None

    def _delete(self) -> None:
        try:
            cluster = Cluster(retry=False)
            if job := cluster.job(self._job):
                cluster.delete(job)
        except InputError as error:
            note(str(error))


def _activity(beat: Beat) -> tuple[int, str, str]:
    return beat.attempt, beat.state, beat.detail
