"""Two nodes of one process (gloo on the CPU): what a TrainJob's pods run is run for real, its launcher follows it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from components.contract.errors import InputError
from components.contract.resolve import config_json
from components.train.stage import run_stage as train
from components.trainjob.stage import run_stage as train_elsewhere
from tests.support.kubernetes_server import Server, kubernetes_server
from tests.support.torchrun_pods import run_pods
from tests.support.trained import metrics_of, state, weights
from tests.support.training_job import SETTINGS as JOB
from tests.support.training_job import connect, played

Make = Callable[..., Any]
SETTINGS = ("train.mini_batch_prompts=3", "train.updates=2", "train.learning_rate=1e-3", "train.micro_batch_tokens=40")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with kubernetes_server() as served:
        connect(served, tmp_path, monkeypatch)
        yield served


@pytest.mark.slow
def test_two_nodes_train_as_one_process(
    training_run: Make, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first iteration; the second, in one process, goes on from the state that both nodes have left."""
    one = training_run(*SETTINGS, "run.name=one")
    two = training_run(*SETTINGS, "run.name=two", "train.nodes=2", "train.checkpoint_every=1")
    for made in (one, two):
        made.sample(1, groups=6)
    train(one.run.uri, 1)
    with played(server.state, lambda state: run_pods(state, tmp_path)):
        manifest = train_elsewhere(two.run.uri, 1, JOB)
    assert "policy 1 after optimizer step 2" in capsys.readouterr().err.splitlines()
    written = {o.name for o in manifest.outputs}
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
def test_the_launcher_reports_bad_input_that_a_node_found(training_run: Make, server: Server, tmp_path: Path) -> None:
    """torchrun ends with 1 whatever its processes end with."""
    made = training_run(*SETTINGS, "train.nodes=2")
    made.sample(groups=5)
    wanted = "iteration 1 has 5 groups, but train.updates.most 2 x train.mini_batch_prompts 3 need 6"
    with played(server.state, lambda state: run_pods(state, tmp_path)), pytest.raises(InputError, match=wanted):
        train_elsewhere(made.run.uri, 1, JOB)
    assert server.state.exit_codes == [1, 1]


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
