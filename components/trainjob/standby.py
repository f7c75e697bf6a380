"""The deletion of a job by a process that has half a second left.

SIGTERM comes when the run is cancelled, and when the pod is moved from its node: drained, preempted. In the second case
Kubernetes has marked the pod before with the condition `DisruptionTarget`. A launcher with that mark leaves the job to
its next start, any other deletes it: a job that nobody wants is worse than one that has to begin again.

A pipeline's container ends 0.5 to 0.9 s after the signal. That is enough for one request over a connection that is
open, and not for asking first: the job and the mark are known before the signal.
"""

import threading
from typing import Self

import urllib3
from kubernetes.client import ApiException

from components.contract.errors import InputError
from components.runtime.background import Background
from components.runtime.progress import note
from components.trainjob.kubernetes_api import Cluster, Job

_LOOK_SECONDS = 5.0
"""An API server closes a connection that is idle for longer than a minute or so."""


class Standby(Background):
    """Keeps a connection, the job and the state of this pod at hand. A context manager."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._cluster = Cluster(retry=False)
        self._job: Job | None = None
        self._is_disrupted = False
        self._pod_thread = threading.Thread(target=self._watch_pod, name="standby-pod", daemon=True)

    def __enter__(self) -> Self:
        self._pod_thread.start()
        return super().__enter__()

    def look(self) -> None:
        """Take note of the job; does nothing where Kubernetes does not answer."""
        try:
            self._job = self._cluster.job(self._name)
        except InputError:
            return

    def delete_unless_disrupted(self) -> None:
        """Delete the job, or leave it to the next start of this pod; print which, and never fail."""
        name = self._name
        if self._is_disrupted:
            note(f"this pod is moved from its node; TrainJob {name} goes on for 100 s, and the next start follows it")
            return
        try:
            if self._job:
                self._cluster.delete(self._job)
        except InputError as error:
            note(f"the run is cancelled; TrainJob {name} ends by itself within two minutes ({error})")
        else:
            note(f"the run is cancelled: TrainJob {name} is deleted")

    def _watch(self) -> None:
        while not self._left.wait(_LOOK_SECONDS):
            self.look()

    def _watch_pod(self) -> None:
        while not self._left.is_set():
            try:
                for pod in self._cluster.own_pod_states():
                    conditions = pod.status.conditions or ()
                    self._is_disrupted = any(c.type == "DisruptionTarget" and c.status == "True" for c in conditions)
            except ApiException:
                return  # this account may not watch pods
            except (urllib3.exceptions.HTTPError, OSError):
                pass
            self._left.wait(_LOOK_SECONDS)
