"""The Kubernetes settings of the tasks: resources, nodes, volumes, secrets, retries."""

from collections.abc import Mapping
from typing import Any

from kfp import kubernetes
from kfp.dsl.pipeline_channel import PipelineParameterChannel
from kfp.dsl.pipeline_task import PipelineTask

from components.trainjob.component import train_job
from components.trainjob.follow_component import train_job as follow_train_job
from pipelines.cluster.cluster_config import USES_CACHE, USES_HUB, USES_MLFLOW, ClusterConfig
from pipelines.cluster.cluster_sections import PodName

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


def place(task: PipelineTask, pod: PodName, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    """Set the resources, node, volumes, secrets, labels, deadline and retries of a task.

    A worker has no deadline: its parent process bounds each iteration.

    Args:
        channels: parameters of the pipeline by name, at least those that `ClusterConfig.parameters_of` returns.
    """
    _resources(task, pod, cluster, channels)
    _volumes(task, pod, cluster, channels)
    if cluster.layout == "tasks" or pod in _SHORT:
        kubernetes.set_timeout(task, cluster.placement(pod).timeout_minutes * 60)
    return _equip(task, pod, cluster, channels)


def _equip(task: PipelineTask, pod: PodName, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    """Set the secrets, labels and retries of a task, which it needs even if a job does the stage's work."""
    _secrets(task, pod, cluster, channels)
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
    def channel(name: str) -> Any:
        return channels[f"{pod}_{name}"]

    # With limits: stages size their pools by them, and a pod whose limits equal its requests is evicted last.
    task.set_cpu_request(channel("cpu")).set_cpu_limit(channel("cpu"))
    task.set_memory_request(channel("memory")).set_memory_limit(channel("memory"))
    task.set_accelerator_type(channel("accelerator")).set_accelerator_limit(channel("accelerators"))
    # KFP passes registered channels into loops and conditions; channels used as resources only are not registered.
    task.register_pipeline_channels([channel(name) for name in ("cpu", "memory", "accelerator", "accelerators")])
    kubernetes.add_node_selector_json(task, channel("node_selector"))
    kubernetes.add_toleration_json(task, channel("tolerations"))
    task.set_container_image(channel("image") if cluster.image_parameters else cluster.image(pod))


def _volumes(task: PipelineTask, pod: PodName, cluster: ClusterConfig, channels: Channels) -> None:
    placement = cluster.placement(pod)
    # The root file system may be read-only.
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=placement.scratch)
    if placement.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=placement.shared_memory)
    if cluster.cache and pod in USES_CACHE:
        kubernetes.mount_pvc(task, channels["cache"], CACHE)
        for name, value in _CACHE_VARIABLES.items():
            task.set_env_variable(name, value)


def _secrets(task: PipelineTask, pod: PodName, cluster: ClusterConfig, channels: Channels) -> None:
    # Optional, because not every cluster needs every key.
    kubernetes.use_config_map_as_env(task, channels["environment"], {k: k for k in _ENDPOINTS}, optional=True)

    def use(parameter: str, keys: tuple[str, ...], optional: bool) -> None:
        kubernetes.use_secret_as_env(task, channels[parameter], {key: key for key in keys}, optional=optional)

    use("s3_secret", _S3_KEYS, cluster.secrets.s3.optional)
    if pod in USES_HUB:
        use("hub_secret", _HUB_KEYS, cluster.secrets.hub.optional)
    if pod in USES_MLFLOW:
        use("mlflow_secret", _MLFLOW_KEYS, cluster.secrets.mlflow.optional)
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
    assert cluster.train_job is not None
    image: Any = cluster.image("train")
    launcher: Any = cluster.image("prepare")
    if cluster.image_parameters:
        image, launcher = channels["train_image"], channels["train_launcher_image"]
    settings: dict[str, Any] = {
        "image": image,
        "cache": channels["cache"] if cluster.cache else "",
        "deadline_minutes": cluster.train.timeout_minutes,
        "limits": cluster.limits("train"),
        "runtime": channels["train_runtime"],
        "resources": channels["train_resources"],
        **{
            name: channels[f"train_{name}"]
            for name in ("cpu", "memory", "accelerator", "accelerators", "node_selector", "tolerations")
        },
    }
    if number is None:
        task = follow_train_job(run_uri=run_uri, **settings)
    else:
        queue = channels["train_queue"]
        task = train_job(run_uri=run_uri, iteration=number, rewards=rewards, queue=queue, **settings)
    task.set_cpu_request(_LAUNCHER_CPU).set_cpu_limit(_LAUNCHER_CPU).set_memory_request(
        _LAUNCHER_MEMORY
    ).set_memory_limit(_LAUNCHER_MEMORY)
    task.set_container_image(launcher)
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=_LAUNCHER_SCRATCH)
    return _equip(task, "train", cluster, channels)
