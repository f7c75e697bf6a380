"""A run that is ready to be trained by a training job, with the job's settings."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kubernetes.config.kube_config
import pytest

from components.contract.manifest import Manifest, policy_digests
from components.contract.metrics import TrainMetrics
from components.contract.resolve import config_json
from components.runtime.clock import Clock
from components.store import Run
from components.train.task import TrainTask
from components.trainjob import job_progress, kubernetes_api, launcher
from components.trainjob.job_settings import JobSettings, job_name
from components.trainjob.kubernetes_api import TASK_LABEL
from components.trainjob.training import Training
from tests.support.kubernetes_objects import Kubernetes
from tests.support.kubernetes_server import Server

SETTINGS = JobSettings(image="registry.example/rapid/train:1.0", resources={"cpu": 8, "nvidia.com/gpu": 4})

Act = Callable[[Kubernetes], None]
Acting = Callable[[Act], AbstractContextManager[None]]


def connect(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point a launcher, in this process or a child, at the server, and shorten its waits."""
    path = str(server.kubeconfig(folder / "kubeconfig"))
    monkeypatch.setenv("KUBECONFIG", path)
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for module in (job_progress, launcher):
        monkeypatch.setattr(module, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(kubernetes_api, "_RETRIES", kubernetes_api._RETRIES.new(backoff_factor=0.01))


@contextmanager
def played(state: Kubernetes, act: Act) -> Iterator[None]:
    """Let `act(state)` play the cluster during the block; an error in it fails the test."""
    failures: list[BaseException] = []

    def play() -> None:
        try:
            act(state)
        except BaseException as error:
            failures.append(error)
            # The code under test must not wait for the job for ever.
            for name in list(state.jobs):
                state.fail(name)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
        if failures:
            raise failures[0]
    assert not thread.is_alive()


@dataclass(frozen=True)
class Ready:
    """A run that has rollouts and rewards of iteration 1."""

    run: Run

    @property
    def job(self) -> str:
        return job_name(self.run.uri, 1)

    def training(self, settings: JobSettings = SETTINGS) -> Training:
        """The training of iteration 1."""
        return Training(self.run, settings, TrainTask.find(self.run, 1))

    @property
    def old(self) -> dict[str, Any]:
        """A job that an earlier launcher has created with SETTINGS."""
        labels = {TASK_LABEL: self.training().digest}
        return {"metadata": {"name": self.job, "labels": labels}, "spec": {"runtimeRef": {"name": "rapid-train"}}}

    def changed(self, section: str, **keys: Any) -> "Ready":
        """Store other settings of a section and return the run with them."""
        config = self.run.config
        other = config.model_copy(update={section: getattr(config, section).model_copy(update=keys)})
        self.run.store.write(self.run.layout.config, config_json(other).encode())
        return Ready(replace(self.run, config=other))

    def commit(self, iteration: int = 1) -> Manifest:
        """Commit a policy as the training pods do."""
        task = TrainTask.find(self.run, iteration)
        task = task.claimed(self.run.claim("train"))
        task.policy_output.write("model.safetensors", f"weights {iteration}".encode())
        task.commit_policy({"outcome": "trained", **policy_digests(task.policy_output.files)}, Clock())
        metrics = TrainMetrics(iteration=iteration, outcome="trained", policy_version=iteration)
        return task.commit(metrics, {"step": 4, "updates": 4, "skipped": 0}, Clock())

    def train(self, state: Kubernetes, job: int = 1) -> None:
        """Play job number `job` to its end: pods, log lines of the first node, the committed policy, completion."""
        name = state.wait_for_job(job)
        pods = [state.run_pod(name, index) for index in range(2)]
        state.say(pods[0], "train: 1/4 updates in 15 s", "train: 4/4 updates in 60 s")
        self.commit()
        for pod in pods:
            state.end_pod(pod)
        state.complete(name)
