"""The training benchmarks count and draw what they say they do."""

import subprocess
import sys

import numpy as np

from benchmarks.training import flops, workload
from benchmarks.training.peer import rollout
from benchmarks.training.report import figures, table

SMALL = workload.Workload(
    shape=workload.Shape(layers=1, width=4, intermediate=6, heads=2, kv_heads=1, vocabulary=10),
    prompts=2,
    group_size=2,
    prompt_tokens=3,
    median=4,
    longest=8,
)


def _stored(lengths: list[int]) -> workload.Stored:
    total = sum(lengths)
    return workload.Stored(
        prompt_ids=np.full((2, 3), 2),
        completion_ids=np.arange(total) % 8 + 2,
        lengths=np.array(lengths),
        rewards=np.array([1.0, 0.0, 0.0, 1.0], dtype=np.float32),
        logprobs=np.zeros(total, dtype=np.float32),
    )


def test_flops_of_a_step_equal_a_count_by_hand() -> None:
    # Queries and output 4 x 4, keys and values 4 x 2 each, three MLP matrices of 4 x 6.
    weights = 16 + 16 + 8 + 8 + 3 * 24
    assert flops.body_weights(SMALL.shape) == weights
    lengths = [1, 2, 3, 4]
    products = 0
    for number, length in enumerate(lengths):
        products += length * 10 * 4  # the head, on positions that predict a completion token
        for position in range(3 + length - 1):
            if position >= 3 or number % 2 == 0:  # the second of a group has its prompt from the first
                # Every matrix, then scores and mixture of the tokens up to this one.
                products += weights + 2 * 4 * (position + 1)
    # Two operations a product, once forward and twice backward.
    assert flops.step_flops(SMALL.shape, _stored(lengths)) == 6 * products


def test_parameters_equal_those_of_the_model() -> None:
    model = workload.build_model(SMALL)
    assert flops.parameters(SMALL.shape) == sum(parameter.numel() for parameter in model.parameters())
    assert flops.parameters(workload.TINY) == 23_211_648
    assert flops.parameters(workload.QWEN_0_5B) == 494_032_768
    assert flops.parameters(workload.QWEN_1_5B) == 1_543_714_304


def test_workload_is_deterministic_and_as_large_as_stated() -> None:
    one, other = workload.draw(workload.Workload()), workload.draw(workload.Workload())
    assert all(np.array_equal(vars(one)[name], vars(other)[name], equal_nan=True) for name in vars(one))
    assert (len(one.lengths), one.group_size, one.tokens) == (64, 8, 7_999)
    assert 50 <= np.median(one.lengths) <= 70
    assert one.lengths.max() <= 256
    assert one.completion_ids.max() < 32_768
    assert not np.array_equal(one.lengths, workload.draw(workload.Workload(seed=1)).lengths)


def test_workloads_have_the_lengths_that_they_are_named_after() -> None:
    for name, work in workload.WORKLOADS.items():
        prompt, completion = map(int, name.split("x"))
        assert work.prompt_tokens == prompt
        assert 0.7 * completion < np.median(workload.draw(work).lengths) < 1.2 * completion


def test_every_group_has_a_signal() -> None:
    rewards = workload.draw(workload.Workload(prompts=200)).rewards.reshape(200, 8)
    assert (rewards.min(axis=1) < rewards.max(axis=1)).all()


def test_the_peer_is_given_every_completion_once() -> None:
    stored = _stored([1, 2, 3, 4])
    given = rollout(stored, [1, 1, 0, 0])
    assert [len(ids) for ids in given["completion_ids"]] == [3, 4, 1, 2]
    assert given["stored_reward"] == [0.0, 1.0, 1.0, 0.0]
    assert np.concatenate(given["completion_ids"][2:]).tolist() == stored.completion_ids[:3].tolist()


def test_figures_are_per_second_of_the_median_step() -> None:
    run = {"seconds": [2.0, 4.0, 9.0], "memory_before": 1e9, "memory_peak": 3e9}
    assert figures(run, tokens=100, step_flops=8.0, rate=4.0) == {
        "tokens_per_second": 25.0,
        "matrix_share": 0.5,
        "peak_gb": 3.0,
        "training_gb": 2.0,
    }


def test_tables_are_aligned() -> None:
    assert table(["", "n"], [["a", "1"], ["bcd", "22"]]) == "      n\n---  --\na     1\nbcd  22"


def test_gpu_update_refuses_without_a_device() -> None:
    words = [sys.executable, "-m", "benchmarks.gpu_update"]
    done = subprocess.run(words, capture_output=True, text=True, env={"CUDA_VISIBLE_DEVICES": "", "PATH": ""})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "needs a CUDA device" in done.stderr
