"""Following a run: what is new since the last look, from Kubeflow and from the run's store."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import kfp_server_api as kfp

from components.contract.errors import InputError
from components.results import IterationResult, read_iteration
from components.store import ObjectMissing, Run, open_run, open_store, run_uri
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.errors import ClusterUnavailable
from pipelines.cluster.runs import ended, run_config, state_word
from pipelines.cluster.tasks import Tasks

POLL_SECONDS = 5.0
_PATIENCE_SECONDS = 600.0
"""How long a server that does not answer is waited for."""

_AT_WORK = ("RUNNING", "SUCCEEDED", "FAILED")


@dataclass
class Watcher:
    """Looks at a run again and again. What it has told once it does not repeat.

    Iterations come from the run's store, where this machine can read it: that is what the stages commit, with its
    rewards. Where it cannot, the states of Kubeflow's tasks have to do.
    """

    client: ClusterClient
    run: kfp.V2beta1Run
    told: int = 0
    """Iterations that were told, from the first."""
    _blind: bool = False
    _state: str = ""
    _stored: Run | None = None
    _tasks: set[tuple[str, str]] = field(default_factory=set)

    def news(self) -> Iterator[str | IterationResult]:
        """Lines and iterations until the run has ended; `run` is then as it ended.

        Raises:
            InputError: the server refuses to answer any longer.
            ClusterUnavailable: it has not answered for ten minutes.
        """
        last_answer = time.monotonic()
        waiting = False
        while True:
            try:
                self.run = self.client.run(self.run.run_id)
            except ClusterUnavailable as error:
                if time.monotonic() - last_answer > _PATIENCE_SECONDS:
                    raise
                if not waiting:
                    yield f"{error}; waiting for it"
                waiting = True
            else:
                last_answer, waiting = time.monotonic(), False
                yield from self._look()
                if ended(self.run):
                    return
            time.sleep(POLL_SECONDS)

    def _look(self) -> Iterator[str | IterationResult]:
        state = state_word(self.run)
        if state != self._state:
            self._state = state
            yield f"{state} in Kubeflow"
        if not self._blind:
            try:
                yield from self._iterations()
            except InputError as error:
                self._blind = True
                yield f"no results from here ({error}); following Kubeflow's tasks instead"
        if self._blind:
            yield from self._stages()

    def _iterations(self) -> Iterator[IterationResult]:
        try:
            stored = self.stored()
        except ObjectMissing:
            # Prepare has not got that far.
            return
        while (result := read_iteration(stored, self.told + 1)) and result.train:
            self.told += 1
            yield result

    def _stages(self) -> Iterator[str]:
        for name, task in Tasks(self.run).stages():
            known = (task.task_id, task.state)
            if task.state in _AT_WORK and known not in self._tasks:
                self._tasks.add(known)
                yield f"{name}: {task.state.lower()}"

    def stored(self) -> Run:
        """The run in its store. Raises InputError where it cannot be read from here, ObjectMissing before prepare."""
        if self._stored is None:
            config = run_config(self.run)
            self._stored = open_run(run_uri(open_store(config.store.uri), config.run.name))
        return self._stored
