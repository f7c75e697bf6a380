"""Trials in which object storage answers wrongly, late or not at all."""

import os
import random
import threading
from collections import Counter
from functools import partial
from typing import Any

from benchmarks.faults.kills import Execution
from benchmarks.faults.runs import RunFiles
from benchmarks.faults.s3_proxy import FAULTS, Fault, FaultyProxy, applies
from benchmarks.faults.trials import Case, Trial
from components.store.patient import PATIENCE_VARIABLE

_SHARES: dict[Fault, float] = dict.fromkeys(FAULTS, 0.03) | {"stall": 0.002, "stale": 0.3, "conflict": 0.3}
"""The share of requests with that fault, among those that it can happen to."""

_STALL_SECONDS = 65.0
"""Longer than the client waits."""


class _Draw:
    """Draws the fault of each request; the same seed draws the same sequence, whatever request comes first."""

    def __init__(self, fault: Fault, chance: random.Random) -> None:
        self._fault, self._chance, self._lock = fault, chance, threading.Lock()
        self.made: Counter[str] = Counter()

    def __call__(self, method: str, path: str, conditional: bool) -> Fault | None:
        if not applies(self._fault, method, path, conditional):
            return None
        with self._lock:
            if self._chance.random() >= _SHARES[self._fault]:
                return None
            self.made[self._fault] += 1
        return self._fault


def storage_cases(bucket: str) -> dict[str, Case]:
    """Return a case for every fault of a request, by name: s3/<fault>.

    Args:
        bucket: URI of a bucket on the server of the AWS_* variables.
    """
    return {f"s3/{fault}": partial(_disturb_storage, bucket, fault) for fault in FAULTS}


def _disturb_storage(bucket: str, fault: Fault, trial: Trial) -> dict[str, Any]:
    alone, draw = trial.workplace.alone("plain"), _Draw(fault, trial.chance)
    files = RunFiles(trial.folder, trial.workplace.words, "plain", f"{bucket}/{trial.folder.name}")
    proxy = FaultyProxy(os.environ["AWS_ENDPOINT_URL"], draw, _STALL_SECONDS)
    environment = {"AWS_ENDPOINT_URL": proxy.url, PATIENCE_VARIABLE: "10"}
    execution = Execution(files.log, files.folder / "tmp", environment)
    outcome = execution.run(files.whole("pod"), [0, 0, 0], 1.0, trial.chance)
    proxy.close()
    outcome.faults = draw.made
    return trial.compared(files, alone.run_content, outcome)
