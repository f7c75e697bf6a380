"""Two training processes (gloo on the CPU) against one."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from components.contract.resolve import config_json
from components.runtime.failure import read_failure
from components.runtime.processes import Child, start_child
from components.train.stage import run_stage as train
from tests.support.trained import metrics_of, state, weights

Make = Callable[..., Any]
SETTINGS = ("train.mini_batch_prompts=3", "train.updates=2", "train.learning_rate=1e-3", "train.micro_batch_tokens=40")

pytestmark = pytest.mark.slow


def assert_same_training(one: Any, other: Any, iteration: int) -> None:
    """Losses, gradient norms and policies to 1e-5; in bf16, where other shapes round otherwise, to 1e-2 and mean 1e-4.

    There a weight whose gradient is 0 but for rounding moves by the whole learning rate, this way or that.
    """
    bf16 = one.run.config.train.compute_dtype == "bfloat16"
    near = 1e-2 if bf16 else 1e-5
    steps = [metrics_of(made.run, iteration).steps for made in (one, other)]
    for mine, theirs in zip(*steps, strict=True):
        for name in ("loss", "gradient_norm", "effective_sample_share", "kl", "entropy", "log_ratio_max", "tokens"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), abs=near, rel=near), name
    mine, theirs = weights(one.run, iteration), weights(other.run, iteration)
    assert mine.keys() == theirs.keys()
    if bf16:
        assert torch.cat([(tensor - theirs[name]).flatten() for name, tensor in mine.items()]).abs().mean() < 1e-4
        return
    # Equal weights may be rounded to neighbours where policies are written in bf16.
    relative = 2**-7 if one.run.config.model.dtype == "bfloat16" else 1e-5
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=relative)


def with_processes(made: Any, count: int) -> None:
    config = made.run.config
    changed = config.model_copy(update={"train": config.train.model_copy(update={"processes": count})})
    made.run.store.write(made.run.layout.config, config_json(changed).encode())


@pytest.mark.parametrize(
    "more",
    [
        ("train.objective=rapid", "train.guide=0.1"),
        ("train.objective=rapid", "loop.replay=0.34"),
        ("train.objective=dapo", "model.dtype=bfloat16"),
        ("train.objective=rapid", "train.lora=4"),
        ("train.objective=rapid_clip", "train.compute_dtype=bfloat16"),
    ],
    ids=["rapid", "replay", "dapo", "adapters", "bf16"],
)
def test_two_processes_train_as_one(training_run: Make, more: tuple[str, ...]) -> None:
    """Two iterations: the second continues from what the other number of processes has left."""
    one = training_run(*SETTINGS, *more, "run.name=one")
    two = training_run(*SETTINGS, *more, "run.name=two", base=True)
    # Nothing is replayed in the first iteration.
    counts = (1, 2) if one.run.config.loop.replay else (2, 1)
    for iteration, processes in enumerate(counts, start=1):
        with_processes(two, processes)
        for made in (one, two):
            made.sample(iteration, groups=6)
            train(made.run.uri, iteration)
        assert_same_training(one, two, iteration)
        written = {o.name for o in two.run.directory(two.run.layout.train(iteration)).require().outputs}
        assert ("optimizer/__1_0.distcp" in written) == (processes == 2)
    if one.run.config.train.compute_dtype == "bfloat16":
        return
    mine, theirs = state(one.run, 2), state(two.run, 2)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=1e-4)
    assert not any(info.key.count("checkpoints") for info in two.run.store.list(two.run.layout.root))


def test_torchrun_starts_the_same_training(training_run: Make) -> None:
    one = training_run(*SETTINGS, "run.name=one")
    two = training_run(*SETTINGS, "run.name=two", "train.checkpoint_every=1")
    for made in (one, two):
        made.sample(groups=6)
    train(one.run.uri, 1)
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "components.train"]
    subprocess.run([sys.executable, "-m", *words, two.run.uri, "--iteration", "1"], check=True)
    assert_same_training(one, two, 1)


def test_one_process_speaks_for_all(training_run: Make) -> None:
    made = training_run(*SETTINGS, "loop.replay={share: 0.34, min_weight: 1}")
    made.sample(1, groups=6)
    train(made.run.uri, 1)
    made.sample(2, groups=6)
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "components.train"]
    command = [sys.executable, "-m", *words, made.run.uri, "--iteration", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout + done.stderr).count("replayed groups left out by loop.replay.min_weight") == 1


IMPATIENT = """
import sys
from datetime import timedelta
import torch.distributed as dist
from components.train import stage
from components.train.resident import Resident

preload = Resident.preload


def impatient(resident, version):
    preload(resident, version)
    dist.barrier()
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=8))


Resident.preload = impatient
stage.follow(sys.argv[1])
"""


def test_processes_that_follow_a_run_wait_at_the_store(training_run: Make, tmp_path: Path) -> None:
    """For longer than a collective operation may take."""
    one = training_run(*SETTINGS, "run.name=one")
    two = training_run(*SETTINGS, "run.name=two")
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", f"{tmp_path}/impatient.py", two.run.uri]
    process = subprocess.Popen([sys.executable, "-m", *words])
    for iteration in (1, 2):
        if iteration == 2:
            time.sleep(12)
        two.sample(iteration, groups=6)
        one.sample(iteration, groups=6)
        train(one.run.uri, iteration)
        while two.run.trained() < iteration:
            assert process.poll() is None
            time.sleep(0.1)
    assert process.wait(60) == 0
    for iteration in (1, 2):
        assert_same_training(one, two, iteration)
    assert [info.key for info in two.run.store.list(two.run.layout.worker("train"))][-2:] == [
        f"{two.run.layout.worker('train')}/{name}" for name in ("attempt-0001", "heartbeat.json")
    ]


def test_a_worker_starts_its_processes_and_passes_their_reports_on(training_run: Make) -> None:
    made = training_run(*SETTINGS, "train.processes=2")
    made.sample(1, groups=6)
    started = start_child(Child("train", [sys.executable, "-m", "components.train", made.run.uri, "--follow"]))
    while made.run.trained() == 0:
        assert started.process.poll() is None
        time.sleep(0.1)
    made.sample(2, groups=6, facts=lambda facts: facts | {"weights_digest": "of others"})
    assert started.process.wait(120) == 2, "it refuses the second iteration"
    assert os.read(started.reports, 4096).split()[:2] == [b"working", b"committed"]
    assert made.run.trained() == 1
    failure = read_failure(made.run)
    assert failure is not None
    assert "was sampled with weights_digest of others" in failure.message


def test_killed_processes_leave_nothing_behind(training_run: Make) -> None:
    made = training_run(*SETTINGS, "train.processes=2", "train.updates=400", "train.mini_batch_prompts=1")
    made.sample(groups=400)
    process = subprocess.Popen(
        [sys.executable, "-m", "components.train", made.run.uri, "--iteration", "1"],
        stdout=subprocess.PIPE,
        env={**os.environ, "RAPID_EVENTS": "1"},
        text=True,
    )
    assert process.stdout is not None
    next(line for line in process.stdout if "progress" in line)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_bad_input_is_reported_once_with_its_status(training_run: Make) -> None:
    made = training_run(*SETTINGS, "train.processes=2")
    made.sample(groups=5)
    done = subprocess.run(
        [sys.executable, "-m", "components.train", made.run.uri, "--iteration", "1"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RAPID_EVENTS": ""},
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "iteration 1 has 5 groups, but train.updates.most 2 x train.mini_batch_prompts 3 need 6" in line
    assert "Traceback" not in done.stderr
    assert made.run.directory(made.run.layout.train(1)).manifest() is None
