"""A run that is ready to be trained, and a cluster to train it on: a Kubernetes API over HTTP, controllers by hand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kubernetes.config.kube_config
import pytest
from fake_run import prepared_run
from kubernetes_server import Server, kubernetes_server
from training_job import Act, Acting, Ready

from components.contract.layout import Round
from components.trainjob import cluster, following, launcher


@pytest.fixture
def ready(tmp_path: Path) -> Ready:
    fake = prepared_run(tmp_path / "store", train={"nodes": 2, "processes": 4}, tracking={"enabled": False})
    fake.round(Round.iteration(1))
    return Ready(fake.run)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with kubernetes_server() as served:
        path = str(served.kubeconfig(tmp_path / "kubeconfig"))
        monkeypatch.setenv("KUBECONFIG", path)
        monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", path)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for module in (following, launcher):
            monkeypatch.setattr(module, "_LOOK_SECONDS", 0.02)
        monkeypatch.setattr(cluster, "_RETRIES", cluster._RETRIES.new(backoff_factor=0.01))
        yield served


@pytest.fixture
def acting(server: Server) -> Acting:
    """`with acting(act)`: `act(state)` plays the cluster meanwhile; what it raises fails the test."""

    @contextmanager
    def run(act: Act) -> Iterator[None]:
        failures: list[BaseException] = []

        def play() -> None:
            try:
                act(server.state)
            except BaseException as error:
                failures.append(error)
                # Whoever waits for the job has to end.
                for name in list(server.state.jobs):
                    server.state.fail(name)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join(30)
            if failures:
                raise failures[0]
        assert not thread.is_alive()

    return run
