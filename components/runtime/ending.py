"""The end of a process that computes for a run which is cancelled, or whose launcher is gone."""

import os
from typing import NoReturn

from components.contract.errors import EXIT_BAD_INPUT, InputError
from components.runtime.background import Background
from components.runtime.guard import exit_on_bad_input
from components.runtime.heartbeat import Beat, read_beat
from components.store import NoLongerWanted, Run

LAUNCHED_VARIABLE = "RAPID_LAUNCHED"
"""Set for a process of a training job: it ends where the launcher of the job has no heartbeat any more."""

_LOOK_SECONDS = 5.0
_SILENT_LOOKS = 20
"""Looks at a heartbeat that stands still. Only looks at a store that answers count, so that its outage ends nothing."""


class EndsWithRun(Background):
    """Ends this process, whatever it computes, soon after the run is cancelled. A context manager.

    A process of a training job on several nodes, which Kubeflow does not end, also ends where its launcher's heartbeat
    has stood still for 100 s: the launcher was cancelled or killed, and nobody has started it again.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def _watch(self) -> None:
        launched = bool(os.environ.get(LAUNCHED_VARIABLE))
        heard: Beat | None = None
        still = 0
        while True:
            try:
                self._run.require_not_cancelled()
                if launched:
                    beat = read_beat(self._run.store, self._run.layout.launcher)
                    still = still + 1 if beat == heard else 0
                    heard = beat
            except NoLongerWanted as error:
                _end(error)
            except InputError:
                pass  # the store does not answer; the work finds out too
            if still >= _SILENT_LOOKS:
                seconds = f"{_SILENT_LOOKS * _LOOK_SECONDS:.0f} s"
                _end(NoLongerWanted(f"the launcher of this training job has not been heard of for {seconds}"))
            if self._left.wait(_LOOK_SECONDS):
                return


def _end(error: NoLongerWanted) -> NoReturn:
    """Say why and end: the main thread may be in a computation, or wait for other nodes, for minutes."""
    try:
        with exit_on_bad_input():
            raise error
    finally:
        os._exit(EXIT_BAD_INPUT)
