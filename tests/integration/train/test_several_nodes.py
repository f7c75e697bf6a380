"""Two nodes of one process (gloo on the CPU), through the command line that a TrainJob's pods run."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trained import metrics_of, state, weights

from components.contract.errors import InputError
from components.contract.resolve import config_json
from components.runtime.guard import TERMINATION_VARIABLE
from components.train.stage import run as train
from components.trainjob.submission import arguments

Make = Callable[..., Any]
SETTINGS = ("train.mini_batch_prompts=3", "train.updates=2", "train.learning_rate=1e-3", "train.micro_batch_tokens=40")


def on_two_nodes(made: Any, iteration: int, scratch: Path) -> list[subprocess.CompletedProcess[str]]:
    """What `torchrun` gives on each node, with the environment that Kubeflow Trainer gives its pods."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    words = [sys.executable, "-m", "torch.distributed.run", *arguments(made.run.uri, iteration, processes=1)]
    running = []
    for node in (0, 1):
        environment = {
            "PET_NNODES": "2",
            "PET_NODE_RANK": str(node),
            "PET_NPROC_PER_NODE": "auto",
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(scratch / f"node-{node}"),
            "RAPID_EVENTS": "",
            TERMINATION_VARIABLE: str(scratch / f"node-{node}" / "termination-log"),
        }
        (scratch / f"node-{node}").mkdir(exist_ok=True)
        running.append(
            subprocess.Popen(
                words, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    ended = [process.communicate(timeout=240) for process in running]
    return [
        subprocess.CompletedProcess(words, process.returncode, *texts)
        for process, texts in zip(running, ended, strict=True)
    ]


@pytest.mark.slow
def test_two_nodes_train_as_one_process(training_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first iteration; the second, in one process, goes on from the state that both nodes have left."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = training_run(*SETTINGS, "run.name=one")
    two = training_run(*SETTINGS, "run.name=two", "train.nodes=2", "train.checkpoint_every=1")
    for made in (one, two):
        made.sample(1, groups=6)
    train(one.run.uri, 1)
    for ended in on_two_nodes(two, 1, tmp_path):
        assert ended.returncode == 0, ended.stderr
    written = {o.path for o in two.run.directory(two.run.layout.train(1)).require().outputs}
    assert {"optimizer/__0_0.distcp", "optimizer/__1_0.distcp"} <= written
    assert_same_training(one, two, 1)
    with_nodes(two, 1)
    for made in (one, two):
        made.sample(2, groups=6)
        train(made.run.uri, 2)
    assert_same_training(one, two, 2)


def with_nodes(made: Any, count: int) -> None:
    config = made.run.config
    changed = config.model_copy(update={"train": config.train.model_copy(update={"nodes": count})})
    made.run.store.write(made.run.layout.config, config_json(changed).encode())


def assert_same_training(one: Any, other: Any, iteration: int) -> None:
    """Losses, gradient norms, policies and moments to 1e-5."""
    steps = [metrics_of(made.run, iteration).steps for made in (one, other)]
    for mine, theirs in zip(*steps, strict=True):
        for name in ("loss", "gradient_norm", "kl", "entropy", "tokens"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), abs=1e-5, rel=1e-5), name
    for read, relative in ((weights, 1e-5), (state, 1e-4)):
        mine, theirs = read(one.run, iteration), read(other.run, iteration)
        assert mine.keys() == theirs.keys()
        for name, tensor in mine.items():
            torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=relative)


@pytest.mark.slow
def test_bad_input_is_left_where_kubernetes_reads_it(training_run: Make, tmp_path: Path) -> None:
    """torchrun ends with 1 whatever its processes end with."""
    made = training_run(*SETTINGS, "train.nodes=2")
    made.sample(groups=5)
    ended = on_two_nodes(made, 1, tmp_path)
    assert [node.returncode for node in ended] == [1, 1]
    logs = [tmp_path / f"node-{node}" / "termination-log" for node in (0, 1)]
    said = [log.read_text(encoding="utf-8") for log in logs if log.exists()]
    assert said
    wanted = "iteration 1 has 5 groups, but train.updates 2 x train.mini_batch_prompts 3 need 6"
    assert all(text.startswith(wanted) for text in said)


def test_one_process_alone_does_not_do_for_several_nodes(training_run: Make) -> None:
    made = training_run(*SETTINGS, "train.nodes=2")
    made.sample(groups=6)
    with pytest.raises(InputError, match=r"train\.nodes = 2, but this is one process on one machine"):
        train(made.run.uri, 1)


def test_the_number_of_nodes_changes_nothing_that_is_committed(training_run: Make) -> None:
    made = training_run(*SETTINGS)
    made.sample(groups=6)
    done = train(made.run.uri, 1)
    with_nodes(made, 2)
    assert train(made.run.uri, 1) == done
