"""Creation of a TrainJob with the kubeflow SDK."""

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
from kubernetes.client import ApiException

from components.contract.train_config import TrainSection
from components.runtime.guard import TERMINATION_VARIABLE
from components.trainjob.job_names import label_value
from components.trainjob.job_settings import JobSettings
from components.trainjob.kubernetes_api import TASK_LABEL, Cluster
from components.trainjob.kubernetes_errors import CONFLICT, MISSING, kubernetes_errors, root

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
RUN_LABEL = "rapid-rl/run"
_PART = {"app.kubernetes.io/part-of": "rapid", "app.kubernetes.io/component": "train"}
_CACHE = "/cache"


class _Backend(KubernetesBackend):
    """The SDK's backend, with clients whose requests all have a time limit."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(
            KubernetesBackendConfig(namespace=cluster.namespace, client_configuration=cluster.configuration)
        )
        self.custom_api, self.core_api = cluster.custom, cluster.core

    def verify_backend(self) -> None:
        """Do nothing: the SDK would read a config map of another namespace, which the launcher may not."""


def submit(
    cluster: Cluster, name: str, run_uri: str, iteration: int, train: TrainSection, settings: JobSettings, digest: str
) -> bool:
    """Create the job; return False where another launcher was faster.

    Args:
        digest: `task_digest`, with which the job is labelled.

    Raises:
        InputError: the runtime does not exist, or Kubernetes refuses the job.
    """
    backend = _Backend(cluster)
    with kubernetes_errors(
        f"cannot use TrainingRuntime {settings.runtime!r} in namespace {cluster.namespace!r}",
        {
            MISSING: "apply k8s/ to this namespace, with Kubeflow Trainer 2.3 or newer on the cluster",
            403: "apply k8s/ to this namespace: the runtime, and the role that reads it",
        },
    ):
        runtime = backend.get_runtime(settings.runtime)
    labels = {**_PART, RUN_LABEL: label_value(run_uri.rpartition("/")[2]), TASK_LABEL: digest}
    if settings.queue:
        labels[QUEUE_LABEL] = settings.queue
    options = [
        Name(name),
        Labels(labels),
        TrainerCommand(["torchrun"]),
        TrainerArgs(arguments(run_uri, iteration, train.processes)),
        RuntimePatch(training_runtime_spec=_patch(settings)),
    ]
    if settings.deadline_seconds:
        options.append(ActiveDeadlineSeconds(settings.deadline_seconds))
    trainer = CustomTrainerContainer(
        image=settings.image,
        num_nodes=train.nodes,
        resources_per_node=dict(settings.resources),
        env=_environment(settings),
    )
    with kubernetes_errors(f"cannot create TrainJob {cluster.namespace}/{name}"):
        try:
            backend.train(runtime=runtime, trainer=trainer, options=options)
        except RuntimeError as error:
            cause = root(error)
            if isinstance(cause, ApiException) and cause.status == CONFLICT:
                return False
            raise
    return True


def arguments(run_uri: str, iteration: int, processes: int) -> list[str]:
    """Return the arguments of `torchrun`; it reads the nodes from PET_* variables."""
    # The Trainer would otherwise count CPUs where there is no GPU.
    per_node = f"--nproc-per-node={processes}"
    return [per_node, "-m", "components.train", run_uri, "--iteration", str(iteration)]


def _environment(settings: JobSettings) -> dict[str, str]:
    environment = {TERMINATION_VARIABLE: "/dev/termination-log"}
    if settings.cache_claim:
        environment |= {
            "TORCHINDUCTOR_CACHE_DIR": f"{_CACHE}/inductor",
            "TRITON_CACHE_DIR": f"{_CACHE}/triton",
        }
    return environment


def _patch(settings: JobSettings) -> TrainingRuntimeSpecPatch:
    spec = PodSpecPatch(
        node_selector=settings.node_selector or None,
        tolerations=list(settings.tolerations) or None,
    )
    if settings.cache_claim:
        spec.volumes = [{"name": "cache", "persistentVolumeClaim": {"claimName": settings.cache_claim}}]
        spec.containers = [ContainerPatch(name=NODE, volume_mounts=[{"name": "cache", "mountPath": _CACHE}])]
    pod = PodTemplatePatch(metadata={"labels": dict(_PART)}, spec=spec)
    job = ReplicatedJobPatch(name=NODE, template=JobTemplatePatch(spec=JobSpecPatch(template=pod)))
    return TrainingRuntimeSpecPatch(template=JobSetTemplatePatch(spec=JobSetSpecPatch(replicated_jobs=[job])))
