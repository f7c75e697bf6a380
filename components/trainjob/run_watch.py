"""A job that trains every iteration of a run, watched by its heartbeats and the failures of other workers."""

import threading
import time
from types import TracebackType
from typing import Self

from components.contract.errors import InputError
from components.runtime.failure import read_failure
from components.runtime.heartbeat import Beat, read_beat
from components.runtime.processes import tell_parent
from components.runtime.progress import note
from components.store import Run
from components.tracking import sync
from components.trainjob.kubernetes_api import Cluster

_LOOK_SECONDS = 10.0


class RunWatch:
    """Reports each commit to the parent process and MLflow, and deletes a job that is no longer wanted.

    A job is not wanted where another worker of the run has failed, or where it works on one iteration for too long. A
    context manager.

    Args:
        seconds: limit of an iteration; 0: none.
    """

    def __init__(self, run: Run, job: str, seconds: float) -> None:
        self._run, self._job, self._limit = run, job, seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="run-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def _watch(self) -> None:
        before: Beat | None = None
        since = time.monotonic()
        while not self._end.wait(_LOOK_SECONDS):
            try:
                beat = read_beat(self._run.store, self._run.layout.worker("train"))
                unwanted = read_failure(self._run) is not None
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

    def _delete(self) -> None:
        try:
            cluster = Cluster(retry=False)
            if job := cluster.job(self._job):
                cluster.delete(job)
        except InputError as error:
            note(str(error))


def _activity(beat: Beat) -> tuple[int, str, str]:
    return beat.attempt, beat.state, beat.detail
