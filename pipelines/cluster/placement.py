"""The Kubernetes settings of the tasks: resources, nodes, volumes, secrets, retries."""

from collections.abc import Mapping
from typing import Any

from kfp import kubernetes
from kfp.dsl.pipeline_channel import PipelineParameterChannel
from kfp.dsl.pipeline_task import PipelineTask

from components.trainjob.component import train_job
from components.trainjob.follow_component import train_job as follow_train_job
from pipelines.cluster.cluster_config import USES_CACHE, USES_HUB, USES_MLFLOW, ClusterConfig
from pipelines.cluster.cluster_sections import PodName, SecretName

CACHE = "/cache"
_CACHE_VARIABLES = {
    "HF_HOME": f"{CACHE}/huggingface",
    "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
    "TRITON_CACHE_DIR": f"{CACHE}/triton",
}
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_REGION", "MLFLOW_TRACKING_URI")
_S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_HUB_KEYS = ("HF_TOKEN",)
_MLFLOW_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")

# The launcher only waits for the Kubernetes API; most of its memory is the SDK's.
_LAUNCHER_CPU = "500m"
_LAUNCHER_MEMORY = "1Gi"
_LAUNCHER_SCRATCH = "1Gi"

_SHORT: tuple[PodName, ...] = ("prepare", "publish")
"""The pods that do not follow the run, in whatever layout."""

# KFP starts again only pods that vanish, a process that ends it never does. A limit of the whole window counts from the
# first pod's start and would end a healthy one after days: it is a year. Argo takes whole numbers only.
_RETRY_SECONDS = 30
_RETRY_WINDOW_SECONDS = 365 * 24 * 3600

Channels = Mapping[str, PipelineParameterChannel]
"""Parameters of the pipeline by name: those that `ClusterConfig.parameters_of` returns, none on one machine."""


def place(task: PipelineTask, pod: PodName, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    """Set the resources, node, volumes, secrets, labels, deadline and retries of a task.

    A worker has no deadline: its parent process bounds each iteration.
    """
    _resources(task, pod, cluster, channels)
    _volumes(task, pod, cluster)
    if cluster.layout == "tasks" or pod in _SHORT:
        kubernetes.set_timeout(task, cluster.placement(pod).timeout_minutes * 60)
    return _equip(task, pod, cluster)


def _equip(task: PipelineTask, pod: PodName, cluster: ClusterConfig) -> PipelineTask:
    """Set the secrets, labels and retries of a task, which it needs even if a job does the stage's work."""
    _secrets(task, pod, cluster)
    # 0 retries are set too, so that all tasks of a stage can share an executor.
    task.set_retry(
        num_retries=cluster.pod_retries,
        backoff_duration=f"{_RETRY_SECONDS}s",
        backoff_factor=1,
        backoff_max_duration=f"{_RETRY_WINDOW_SECONDS}s",
    )
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "rapid")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", pod)
    kubernetes.add_pod_label(task, "rapid-rl/layout", cluster.layout)
    if cluster.queue:
        kubernetes.add_pod_label(task, "kueue.x-k8s.io/queue-name", cluster.queue)
    # The image sets the user. KFP sets the rest of what the restricted Pod Security Standard requires.
    kubernetes.set_security_context(task, run_as_non_root=True)
    return task


def _resources(task: PipelineTask, pod: PodName, cluster: ClusterConfig, channels: Channels) -> None:
    placement = cluster.placement(pod)
    # With limits: stages size their pools by them.
    task.set_cpu_request(placement.cpu_request or placement.cpu).set_cpu_limit(placement.cpu)
    task.set_memory_request(placement.memory_request or placement.memory).set_memory_limit(placement.memory)
    if placement.accelerators:
        task.set_accelerator_type(placement.accelerator).set_accelerator_limit(_accelerators(pod, cluster, channels))
        # KFP passes registered channels into loops and conditions; one that is used as a resource only is not.
        task.register_pipeline_channels([c for name, c in channels.items() if name == f"{pod}_accelerators"])
    for label, value in placement.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for taint in placement.tolerations:
        kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect, taint.tolerationSeconds)
    task.set_container_image(_image(pod, cluster, channels))


def _image(pod: PodName, cluster: ClusterConfig, channels: Channels) -> Any:
    return channels.get(f"{pod}_image", cluster.image(pod))


def _accelerators(pod: PodName, cluster: ClusterConfig, channels: Channels) -> Any:
    return channels.get(f"{pod}_accelerators", str(cluster.placement(pod).accelerators))


def _volumes(task: PipelineTask, pod: PodName, cluster: ClusterConfig) -> None:
    placement = cluster.placement(pod)
    # The root file system may be read-only.
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=placement.scratch)
    if placement.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=placement.shared_memory)
    if cluster.cache and pod in USES_CACHE:
        kubernetes.mount_pvc(task, cluster.cache.claim, CACHE)
        for name, value in _CACHE_VARIABLES.items():
            task.set_env_variable(name, value)


def _secrets(task: PipelineTask, pod: PodName, cluster: ClusterConfig) -> None:
    # Optional, because not every cluster needs every key.
    kubernetes.use_config_map_as_env(task, cluster.environment, {k: k for k in _ENDPOINTS}, optional=True)

    def use(secret: SecretName, keys: tuple[str, ...]) -> None:
        kubernetes.use_secret_as_env(task, secret.name, {key: key for key in keys}, optional=secret.optional)

    use(cluster.secrets.s3, _S3_KEYS)
    if pod in USES_HUB:
        use(cluster.secrets.hub, _HUB_KEYS)
    if pod in USES_MLFLOW:
        use(cluster.secrets.mlflow, _MLFLOW_KEYS)
    for secret in cluster.placement(pod).secrets:
        kubernetes.use_secret_as_env(task, secret.name, secret.keys, optional=secret.optional)


def launch_train_job(
    run_uri: Any, number: Any, rewards: Any, cluster: ClusterConfig, channels: Channels
) -> PipelineTask:
    """Return the task that launches a training job and follows it.

    Each node of the job requests the resources of the train stage. The timeout applies to the training, without its
    time in a queue; the launcher itself has none.

    Args:
        number: iteration to train; None: every iteration of the run.
    """
    job, train = cluster.train_job, cluster.train
    assert job is not None
    settings: dict[str, Any] = {
        "image": _image("train", cluster, channels),
        "cpu": train.cpu,
        "memory": train.memory,
        "accelerator": train.accelerator,
        "accelerators": _accelerators("train", cluster, channels),
        "resources": job.resources,
        "node_selector": train.node_selector,
        "tolerations": [taint.model_dump(exclude_none=True) for taint in train.tolerations],
        "cache": cluster.cache.claim if cluster.cache else "",
        "runtime": job.runtime,
        "deadline_minutes": train.timeout_minutes,
        "limits": cluster.limits("train"),
    }
    if number is None:
        task = follow_train_job(run_uri=run_uri, **settings)
    else:
        task = train_job(run_uri=run_uri, iteration=number, rewards=rewards, queue=job.queue, **settings)
    task.set_cpu_request(_LAUNCHER_CPU).set_cpu_limit(_LAUNCHER_CPU).set_memory_request(
        _LAUNCHER_MEMORY
    ).set_memory_limit(_LAUNCHER_MEMORY)
    task.set_container_image(cluster.image("prepare"))
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=_LAUNCHER_SCRATCH)
    return _equip(task, "train", cluster)
