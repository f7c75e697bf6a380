"""Follow a run: what is new in the run's store, and its state in Kubeflow."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import kfp_server_api as kfp

from components.contract.errors import InputError
from components.results import IterationResult, read_iteration
from components.runtime.failure import Failure, read_failure
from components.store import ObjectMissing, Run, open_run, open_store, run_uri
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.connection import ClusterUnavailable, kfp_namespace
from pipelines.cluster.pod_requests import pod_request
from pipelines.cluster.runs import has_ended, parameters, run_config, run_state, states, was_cancelled
from pipelines.cluster.silent_workers import SilentWorkers
from pipelines.cluster.task_details import TaskDetails, WaitingPod

POLL_SECONDS = 5.0
_MAX_SILENCE_SECONDS = 600.0
"""Limit of the wait for a server that does not respond."""

_STARTED = ("RUNNING", "SUCCEEDED", "FAILED")


@dataclass
class Watcher:
    """Polls a run and reports each change once.

    Iterations, with their rewards, and workers that are silent are read from the run's store. If this machine cannot
    read the store, the states of Kubeflow's tasks are reported instead.
    """

    client: ClusterClient
    run: kfp.V2beta1Run
    reported: int = 0
    """Number of iterations reported so far."""
    store_unreadable: bool = False
    """True once it has been reported that this machine cannot read the run's store."""
    _state: str = ""
    _stored_run: Run | None = None
    _silent: SilentWorkers | None = None
    _tasks: set[tuple[str, str]] = field(default_factory=set)
    _told_waiting: set[str] = field(default_factory=set)

    def news(self) -> Iterator[str | IterationResult]:
        """Yield lines and iterations until the run has ended; `run` then holds its final state.

        Raises:
            InputError: the server refuses further requests.
            ClusterUnavailable: the server has not responded for ten minutes.
        """
        last_response = time.monotonic()
        waiting = False
        while True:
            try:
                found = self.client.run(self.run.run_id)
                # Completed by the defaults of its pipeline, and the same for ever.
                found.runtime_config = self.run.runtime_config
                self.run = found
            except ClusterUnavailable as error:
                if time.monotonic() - last_response > _MAX_SILENCE_SECONDS:
                    raise
                if not waiting:
                    yield f"{error}; waiting for it"
                waiting = True
            else:
                last_response, waiting = time.monotonic(), False
                yield from self._changes()
                if has_ended(self.run):
                    return
            time.sleep(POLL_SECONDS)

    def _changes(self) -> Iterator[str | IterationResult]:
        state = run_state(self.run)
        if state != self._state:
            self._state = state
            yield f"{state} in Kubeflow"
        if not self.store_unreadable:
            try:
                yield from self._progress()
            except InputError as error:
                yield self.unreadable(error)
        if self.store_unreadable:
            yield from self.stages()
        else:
            yield from self._failed()
        yield from self.waiting()

    def unreadable(self, error: InputError) -> str:
        """Return what is shown where this machine cannot read the run's store, and what would be elsewhere."""
        self.store_unreadable = True
        return (
            f"the results cannot be read from this machine ({error}); Kubeflow's tasks are shown instead. Where the "
            "store can be read, this command shows rewards, times and the reason of a failure"
        )

    def _progress(self) -> Iterator[str | IterationResult]:
        try:
            run = self.stored_run()
        except ObjectMissing:
            # prepare has not committed it yet.
            return
        while (result := read_iteration(run, self.reported + 1)) and result.train:
            self.reported += 1
            yield result
        if not has_ended(self.run):
            self._silent = self._silent or SilentWorkers(run, self.run.created_at)
            yield from self._silent.lines()

    def _failed(self) -> Iterator[str]:
        """Yield a line for a task that has failed while others go on: Kubeflow ends none of them."""
        if self.run.state != "RUNNING":
            return  # what is cancelled is FAILED too
        for name in TaskDetails(self.run).failed():
            if (name, "FAILED") not in self._tasks:
                self._tasks.add((name, "FAILED"))
                yield f"{name} has failed in Kubeflow; the run fails once the others have ended, or miss it"

    def waiting(self) -> Iterator[str]:
        """Yield a line for each pod that has not started for two minutes, once."""
        if self.run.state != "RUNNING":
            return
        for pod in TaskDetails(self.run).waiting():
            if pod.name not in self._told_waiting:
                self._told_waiting.add(pod.name)
                yield waiting_line(self.client, self.run, pod)

    def stages(self) -> Iterator[str]:
        """Yield a line for each task that has started or ended, once in each state."""
        for name, task in TaskDetails(self.run).stages():
            known = (task.task_id, task.state)
            ended = task.state == "FAILED" and "CANCELING" in states(self.run)  # by whoever cancelled the run
            if task.state in _STARTED and known not in self._tasks and not ended:
                self._tasks.add(known)
                yield f"{name}: {task.state.lower()}"

    def failure(self) -> Failure | None:
        """Return the reason that a stage has left in the run; None without one, or where the store cannot be read."""
        if self._refused():
            return None  # that of an earlier start, which prepare would have removed
        try:
            return read_failure(self.stored_run())
        except InputError:
            return None

    def lost_a_pod(self) -> bool:
        """Return whether the run has failed without the fault of a stage: a pod was killed, evicted or out of memory.

        Then no stage has left a reason, or only that another one fell silent. What prepare refuses it would refuse
        again.
        """
        if self.run.state != "FAILED" or was_cancelled(self.run) or self._refused():
            return False
        try:
            failure = read_failure(self.stored_run())
        except InputError:
            return False
        return failure is None or failure.lost

    def _refused(self) -> bool:
        return "prepare" in TaskDetails(self.run).failed()

    def resumed(self, run: kfp.V2beta1Run) -> "Watcher":
        """Return a watcher of the run that continues this one; it reports no iteration twice."""
        return Watcher(self.client, run, self.reported)

    def stored_run(self) -> Run:
        """Return the run in its store. Raises ObjectMissing before prepare, InputError if it cannot be read."""
        if self._stored_run is None:
            config = run_config(self.run)
            self._stored_run = open_run(run_uri(open_store(config.store.uri), config.run.name))
        return self._stored_run


def waiting_line(client: ClusterClient, run: kfp.V2beta1Run, pod: WaitingPod) -> str:
    """Return since when a pod has been waiting and what it requests, and the command that tells why."""
    request = ""
    if pod.stage:
        with suppress(InputError):
            spec = (client.version_of(run).pipeline_spec or {}).get("pipeline_spec", {})
            request = pod_request(spec, pod.stage, parameters(run))
    return (
        f"{pod.name} has been waiting for its pod to start for {pod.minutes} min"
        f"{f', which requests {request}' if request else ''}; why: {describe_pods(client, run)}"
    )


def describe_pods(client: ClusterClient, run: kfp.V2beta1Run) -> str:
    """Return the command that shows a run's pods with their events."""
    return f"kubectl describe pods -n {client.namespace or kfp_namespace()} -l pipeline/runid={run.run_id}"
