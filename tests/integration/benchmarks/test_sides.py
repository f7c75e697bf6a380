"""Our side of the training benchmarks, on a tiny workload."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.training import ours, workload
from benchmarks.training.memory import Meter

TINY = workload.Workload(
    shape=workload.Shape(layers=1, width=32, intermediate=32, heads=2, kv_heads=1, vocabulary=64),
    prompts=2,
    group_size=4,
    prompt_tokens=4,
    median=5,
    longest=9,
)


def test_stored_trajectories_are_those_of_the_stored_policy(tmp_path: Path) -> None:
    stored = workload.store(TINY, tmp_path)
    read = workload.read(tmp_path)
    assert all(np.array_equal(vars(stored)[name], vars(read)[name]) for name in vars(stored))
    measured = ours.measure(tmp_path, 2, "cpu", {"objective": "grpo"})
    assert len(measured["seconds"]) == 2
    assert measured["completion_tokens"] == stored.lengths.sum()
    # The ratio of policy and stored log-probabilities is 1 and advantages are centred.
    assert measured["loss"] == pytest.approx(0.0, abs=1e-5)
    assert measured["gradient_norm"] > 0.0


def test_the_meter_sees_memory_that_was_given_back() -> None:
    meter = Meter("cpu")
    np.ones(40_000_000).sum()
    assert meter.peak() - meter.before > 300_000_000
