"""A run with two policies, sampled by a process of its own, and one engine for all tests of this folder."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.contract.resolve import load_config
from components.prepare.stage import run_stage as prepare
from components.rollout.engine import configure_import
from components.rollout.stage import Rollout
from components.store import Run, open_run
from tests.support.arithmetic_run import FIRST, SECOND, commit_policy, stage, write_config


@pytest.fixture(scope="session", autouse=True)
def _flask_apart() -> None:
    """Hide modules with objects of Flask, which moto brings into this process, from vLLM.

    vLLM looks at every object of every module, and those refuse that outside of a request.
    """
    configure_import()
    from vllm.triton_utils import dispatcher

    rebind = dispatcher._rebind_kernels

    def rebind_without_flask(pairs: object) -> None:
        hidden = {
            name: module
            for name, module in list(sys.modules.items())
            if any(type(value).__name__ == "LocalProxy" for value in vars(module).values())
        }
        for name in hidden:
            del sys.modules[name]
        try:
            rebind(pairs)
        finally:
            sys.modules.update(hidden)

    dispatcher._rebind_kernels = rebind_without_flask


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with policies 0 and 1, of which nothing is sampled."""
    directory = tmp_path_factory.mktemp("prepared")
    prepare(load_config(write_config(directory, tracking={"enabled": False})))
    run = open_run(str(directory / "store/runs/small"))
    commit_policy(run, 1, seed=1)
    return run


@pytest.fixture
def fresh(prepared: Run, tmp_path: Path) -> Run:
    """A copy of that run."""
    return _copy(prepared, tmp_path)


def _copy(run: Run, directory: Path) -> Run:
    root = run.store.local_path("")
    assert root is not None
    shutil.copytree(root, directory / "store")
    return open_run(str(directory / "store/runs/small"))


@pytest.fixture(scope="session")
def sampled(prepared: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of that run whose first iteration was sampled by a process of its own."""
    run = _copy(prepared, tmp_path_factory.mktemp("sampled"))
    process = stage("rollout", run.uri, "--round", str(FIRST))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return run


@pytest.fixture(scope="session")
def resident(prepared: Run, tmp_path_factory: pytest.TempPathFactory) -> Rollout:
    """An engine that has sampled iteration 2, with policy 1."""
    rollout = Rollout(_copy(prepared, tmp_path_factory.mktemp("resident")), is_resident=True)
    rollout.sample(SECOND, 0)
    return rollout


@pytest.fixture
def with_engine(resident: Rollout) -> Iterator[Callable[[Run], Rollout]]:
    """Return a function that gives the loaded engine to another run; a process can have one at a time."""
    given: list[Rollout] = []

    def give(run: Run) -> Rollout:
        other = Rollout(run, is_resident=True)
        other._engine = resident._engine
        other._loaded = {"tokenizer": str(run.policy(0).require().facts["tokenizer_digest"])}  # of unknown weights
        given.append(other)
        return other

    yield give
    if given:
        resident._engine = given[-1]._engine
