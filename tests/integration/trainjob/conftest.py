"""A run that is ready to be trained, and a cluster to train it on: a Kubernetes API over HTTP, controllers by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contract.layout import Round
from components.store import open_run
from tests.support.fake_run import prepared_run
from tests.support.kubernetes_server import Server, kubernetes_server
from tests.support.training_job import Acting, Ready, connect, played


@pytest.fixture
def ready(tmp_path: Path) -> Ready:
    fake = prepared_run(tmp_path / "store", train={"nodes": 2, "processes": 4}, tracking={"enabled": False})
    fake.round(Round.iteration(1))
    return Ready(open_run(fake.run.uri))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with kubernetes_server() as served:
        connect(served, tmp_path, monkeypatch)
        yield served


@pytest.fixture
def acting(server: Server) -> Acting:
    """A context manager, given a function of the state that plays the cluster meanwhile."""
    return lambda act: played(server.state, act)
