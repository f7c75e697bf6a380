"""The other stages of a training run that its train stage follows."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from components.contract.layout import Round


@contextmanager
def sampled_beside(made: Any, iterations: int, first: int = 1, **sampling: Any) -> Iterator[None]:
    """Sample each iteration of a `TrainingRun` once its policy is committed, while a worker in the block waits.

    In the worker's own thread, because transformers loads models in one thread at a time.
    """
    waiting = iter(range(first, iterations + 1))

    def sample(seconds: float) -> None:
        number = next(waiting, None)
        if number is None:
            time.sleep(seconds)
            return
        assert made.run.policy(made.run.sampled_policy(Round.iteration(number))).manifest() is not None
        made.sample(number, **sampling)

    with patch("components.runtime.worker.time", SimpleNamespace(monotonic=time.monotonic, sleep=sample)):
        yield
    assert next(waiting, None) is None
