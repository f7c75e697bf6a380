"""A run that is ready to be trained by a training job, and what such a job asks for."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from kubernetes_objects import Kubernetes

from components.contract.manifest import Manifest, policy_digests
from components.contract.metrics import TrainMetrics
from components.contract.resolve import config_json
from components.runtime.clock import Clock
from components.store import Run
from components.train.work import Work, commit
from components.trainjob.naming import job_name
from components.trainjob.settings import JobSettings

SETTINGS = JobSettings(image="registry.example/rapid/train:1.0", resources={"cpu": 8, "nvidia.com/gpu": 4})

Act = Callable[[Kubernetes], None]
Acting = Callable[[Act], AbstractContextManager[None]]


@dataclass(frozen=True)
class Ready:
    """`run` has rollouts and rewards of iteration 1."""

    run: Run

    @property
    def job(self) -> str:
        return job_name(self.run.uri, 1)

    @property
    def old(self) -> dict[str, Any]:
        """A job that an earlier launcher has made."""
        return {"metadata": {"name": self.job}, "spec": {"runtimeRef": {"name": "rapid-train"}}}

    def changed(self, section: str, **keys: Any) -> "Ready":
        """The same run with other settings of a section, stored."""
        config = self.run.config
        other = config.model_copy(update={section: getattr(config, section).model_copy(update=keys)})
        self.run.store.write(self.run.layout.config, config_json(other).encode())
        return Ready(replace(self.run, config=other))

    def commit(self) -> Manifest:
        """What the training pods leave in the store."""
        work = Work.of(self.run.uri, 1)
        outputs = [work.directory.write("policy/model.safetensors", b"weights")]
        facts = {"step": 4, "updates": 4, "skipped": 0, **policy_digests(outputs, "policy")}
        metrics = TrainMetrics(iteration=1, outcome="trained", policy_version=1)
        return commit(work, metrics, outputs, facts, Clock())

    def train(self, state: Kubernetes, job: int = 1) -> None:
        """The life of the job made as number `job`: pods, lines of the first node, the policy in the store, the end."""
        name = state.wait_for_job(job)
        pods = [state.run_pod(name, index) for index in range(2)]
        state.say(pods[0], "train: 1/4 updates in 15 s", "train: 4/4 updates in 60 s")
        self.commit()
        for pod in pods:
            state.end_pod(pod)
        state.complete(name)
