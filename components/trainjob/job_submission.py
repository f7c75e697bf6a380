"""Creation of a TrainJob with the kubeflow SDK."""

import os
from typing import Any

from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.trainer import CustomTrainerContainer
from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend
from kubeflow.trainer.constants.constants import NODE
from kubeflow.trainer.options import ActiveDeadlineSeconds, Labels, Name, RuntimePatch, TrainerArgs, TrainerCommand
from kubeflow.trainer.options.kubernetes import (
    ContainerPatch,
    JobSetSpecPatch,
    JobSetTemplatePatch,
    JobSpecPatch,
    JobTemplatePatch,
    PodSpecPatch,
    PodTemplatePatch,
    ReplicatedJobPatch,
    TrainingRuntimeSpecPatch,
)
from kubernetes.client import ApiClient, ApiException, CustomObjectsApi

from components.runtime.ending import LAUNCHED_VARIABLE
from components.runtime.guard import TERMINATION_VARIABLE
from components.runtime.worker import SILENCE_VARIABLE
from components.tracking import TRACKING_VARIABLE
from components.trainjob.job_settings import JobSettings, label_value
from components.trainjob.kubernetes_api import CONFLICT, MISSING, TASK_LABEL, Cluster, kubernetes_errors, root_cause
from components.trainjob.training import Training

_PART = {"app.kubernetes.io/part-of": "rapid", "app.kubernetes.io/component": "train"}
_CACHE = "/cache"


class _OwnedObjects(CustomObjectsApi):  # type: ignore[misc]  # it has no types
    """Creates objects that go with their owners. The SDK has no option for it, and TrainJobs no time to live."""

    def __init__(self, api: ApiClient, owners: list[dict[str, str]]) -> None:
        super().__init__(api)
        self._owners = owners

    def create_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, body: dict[str, Any], **options: Any
    ) -> Any:
        if self._owners:
            body = {**body, "metadata": {**body["metadata"], "ownerReferences": self._owners}}
        return super().create_namespaced_custom_object(group, version, namespace, plural, body, **options)


def _owners(cluster: Cluster) -> list[dict[str, str]]:
    """Return the owners of this pod, which is the workflow of its run, as owners of the job.

    Whatever launchers leave behind is then removed with the workflow. Not the pod itself, which a drain replaces.
    """
    pod = cluster.own_pod()
    references = pod.metadata.owner_references or () if pod else ()
    return [{"apiVersion": r.api_version, "kind": r.kind, "name": r.name, "uid": r.uid} for r in references]


class _Backend(KubernetesBackend):
    """The SDK's backend, with clients whose requests all have a time limit."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(
            KubernetesBackendConfig(namespace=cluster.namespace, client_configuration=cluster.configuration)
        )
        self.custom_api = _OwnedObjects(cluster.custom.api_client, _owners(cluster))
        self.core_api = cluster.core

    def verify_backend(self) -> None:
        """Do nothing: the SDK would read a config map of another namespace, which the launcher may not."""


def submit(cluster: Cluster, training: Training) -> bool:
    """Create the job; return False where another launcher was faster.

    Raises:
        InputError: the runtime does not exist, or Kubernetes refuses the job.
    """
    backend, settings, name = _Backend(cluster), training.settings, training.name
    with kubernetes_errors(
        f"cannot use TrainingRuntime {settings.runtime!r} in namespace {cluster.namespace!r}",
        {
            MISSING: "apply k8s/ to this namespace, with Kubeflow Trainer 2.3 or newer on the cluster",
            403: "apply k8s/ to this namespace: the runtime, and the role that reads it",
        },
    ):
        runtime = backend.get_runtime(settings.runtime)
    train = training.run.config.train
    labels = {**_PART, "rapid-rl/run": label_value(training.run.layout.run), TASK_LABEL: training.digest}
    if settings.queue:
        labels["kueue.x-k8s.io/queue-name"] = settings.queue
    # torchrun reads the nodes from PET_* variables. Without a number of processes here, the Trainer would count CPUs
    # where there is no GPU.
    arguments = [f"--nproc-per-node={train.processes}", "-m", "components.train", *training.arguments]
    options = [
        Name(name),
        Labels(labels),
        TrainerCommand(["torchrun"]),
        TrainerArgs(arguments),
        RuntimePatch(training_runtime_spec=_patch(settings, "tasks" if training.task else "workers")),
    ]
    if settings.deadline_seconds and training.task:
        options.append(ActiveDeadlineSeconds(settings.deadline_seconds))
    # The launcher has MLflow's credentials and a way to it.
    environment = {TERMINATION_VARIABLE: "/dev/termination-log", TRACKING_VARIABLE: "off", LAUNCHED_VARIABLE: "1"}
    if silence := os.environ.get(SILENCE_VARIABLE):
        environment[SILENCE_VARIABLE] = silence
    if settings.cache_claim:
        environment |= {"TORCHINDUCTOR_CACHE_DIR": f"{_CACHE}/inductor", "TRITON_CACHE_DIR": f"{_CACHE}/triton"}
    trainer = CustomTrainerContainer(
        image=settings.image, num_nodes=train.nodes, resources_per_node=dict(settings.resources), env=environment
    )
    with kubernetes_errors(f"cannot create TrainJob {cluster.namespace}/{name}"):
        try:
            backend.train(runtime=runtime, trainer=trainer, options=options)
        except RuntimeError as error:
            cause = root_cause(error)
            if isinstance(cause, ApiException) and cause.status == CONFLICT:
                return False
            raise
    return True


def _patch(settings: JobSettings, layout: str) -> TrainingRuntimeSpecPatch:
    spec = PodSpecPatch(node_selector=settings.node_selector or None, tolerations=list(settings.tolerations) or None)
    if settings.cache_claim:
        spec.volumes = [{"name": "cache", "persistentVolumeClaim": {"claimName": settings.cache_claim}}]
        spec.containers = [ContainerPatch(name=NODE, volume_mounts=[{"name": "cache", "mountPath": _CACHE}])]
    pod = PodTemplatePatch(metadata={"labels": {**_PART, "rapid-rl/layout": layout}}, spec=spec)
    job = ReplicatedJobPatch(name=NODE, template=JobTemplatePatch(spec=JobSpecPatch(template=pod)))
    return TrainingRuntimeSpecPatch(template=JobSetTemplatePatch(spec=JobSetSpecPatch(replicated_jobs=[job])))
