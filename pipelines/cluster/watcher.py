"""Follow a run: what is new, from Kubeflow and from the run's store."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import kfp_server_api as kfp

from components.contract.errors import InputError
from components.results import IterationResult, read_iteration
from components.store import ObjectMissing, Run, open_run, open_store, run_uri
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.connection import ClusterUnavailable
from pipelines.cluster.runs import has_ended, run_config, run_state
from pipelines.cluster.task_details import TaskDetails

POLL_SECONDS = 5.0
_MAX_SILENCE_SECONDS = 600.0
"""Limit of the wait for a server that does not respond."""

_STARTED = ("RUNNING", "SUCCEEDED", "FAILED")


@dataclass
class Watcher:
    """Polls a run and reports each change once.

    Iterations, with their rewards, are read from the run's store. If this machine cannot read the store, the states of
    Kubeflow's tasks are reported instead.
    """

    client: ClusterClient
    run: kfp.V2beta1Run
    reported: int = 0
    """Number of iterations reported so far."""
    _store_unreadable: bool = False
    _state: str = ""
    _stored_run: Run | None = None
    _tasks: set[tuple[str, str]] = field(default_factory=set)

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
                self.run = self.client.run(self.run.run_id)
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
        if not self._store_unreadable:
            try:
                yield from self._iterations()
            except InputError as error:
                self._store_unreadable = True
                yield f"the results cannot be read from this machine ({error}); following Kubeflow's tasks instead"
        if self._store_unreadable:
            yield from self._stages()

    def _iterations(self) -> Iterator[IterationResult]:
        try:
            run = self.stored_run()
        except ObjectMissing:
            # prepare has not committed it yet.
            return
        while (result := read_iteration(run, self.reported + 1)) and result.train:
            self.reported += 1
            yield result

    def _stages(self) -> Iterator[str]:
        for name, task in TaskDetails(self.run).stages():
            known = (task.task_id, task.state)
            if task.state in _STARTED and known not in self._tasks:
                self._tasks.add(known)
                yield f"{name}: {task.state.lower()}"

    def stored_run(self) -> Run:
        """Return the run in its store. Raises ObjectMissing before prepare, InputError if it cannot be read."""
        if self._stored_run is None:
            config = run_config(self.run)
            self._stored_run = open_run(run_uri(open_store(config.store.uri), config.run.name))
        return self._stored_run
