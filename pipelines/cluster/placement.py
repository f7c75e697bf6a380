"""Puts a task of a stage where the cluster's settings and the run's parameters say."""

from collections.abc import Mapping
from typing import Any

from kfp import kubernetes
from kfp.dsl.pipeline_channel import PipelineParameterChannel
from kfp.dsl.pipeline_task import PipelineTask

from components.contract.section import StageName
from pipelines.cluster.config import ClusterConfig
from pipelines.cluster.parameters import USES_CACHE, USES_HUB, USES_MLFLOW

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

Channels = Mapping[str, PipelineParameterChannel]


def place(task: PipelineTask, stage: StageName, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    """Give a stage's task its resources, node, volumes, secrets, labels, time-out and retries.

    Args:
        channels: run-time parameters by name, at least those that `ClusterConfig.parameters_of` gives this stage.
    """
    _resources(task, stage, cluster, channels)
    _volumes(task, stage, cluster, channels)
    kubernetes.set_timeout(task, cluster.stage(stage).timeout_minutes * 60)
    return equip(task, stage, cluster, channels)


def equip(task: PipelineTask, stage: StageName, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    """Give a task what it needs wherever its stage's work is done: secrets, labels, retries."""
    _secrets(task, stage, cluster, channels)
    # Tasks with and without retries would need executors of different make; 0 is a number of retries too.
    task.set_retry(
        num_retries=cluster.stage(stage).retries,
        backoff_duration=f"{cluster.backoff.seconds}s",
        backoff_factor=cluster.backoff.factor,
        backoff_max_duration=f"{cluster.backoff.max_seconds}s",
    )
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "rapid")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", stage)
    if cluster.queue:
        kubernetes.add_pod_label(task, "kueue.x-k8s.io/queue-name", cluster.queue)
    # Which user that is, the image says. KFP sets the rest of what the restricted Pod Security Standard asks for.
    kubernetes.set_security_context(task, run_as_non_root=True)
    return task


def _resources(task: PipelineTask, stage: StageName, cluster: ClusterConfig, channels: Channels) -> None:
    def channel(name: str) -> Any:
        return channels[f"{stage}_{name}"]

    # Limits too: a stage that sizes its pools reads them, and a pod with both is the last to be evicted.
    task.set_cpu_request(channel("cpu")).set_cpu_limit(channel("cpu"))
    task.set_memory_request(channel("memory")).set_memory_limit(channel("memory"))
    task.set_accelerator_type(channel("accelerator")).set_accelerator_limit(channel("accelerators"))
    # KFP passes on what is registered, into loops and conditions too; of resources it only knows the task.
    task.register_pipeline_channels([channel(name) for name in ("cpu", "memory", "accelerator", "accelerators")])
    kubernetes.add_node_selector_json(task, channel("node_selector"))
    kubernetes.add_toleration_json(task, channel("tolerations"))
    task.set_container_image(channel("image") if cluster.image_parameters else cluster.image(stage))


def _volumes(task: PipelineTask, stage: StageName, cluster: ClusterConfig, channels: Channels) -> None:
    placement = cluster.stage(stage)
    # The images' root file systems may be read-only.
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=placement.scratch)
    if placement.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=placement.shared_memory)
    if cluster.cache and stage in USES_CACHE:
        kubernetes.mount_pvc(task, channels["cache"], CACHE)
        for name, value in _CACHE_VARIABLES.items():
            task.set_env_variable(name, value)


def _secrets(task: PipelineTask, stage: StageName, cluster: ClusterConfig, channels: Channels) -> None:
    # Optional, for not every cluster needs every key of it.
    kubernetes.use_config_map_as_env(task, channels["environment"], {k: k for k in _ENDPOINTS}, optional=True)

    def use(parameter: str, keys: tuple[str, ...], optional: bool) -> None:
        kubernetes.use_secret_as_env(task, channels[parameter], {key: key for key in keys}, optional=optional)

    use("s3_secret", _S3_KEYS, cluster.secrets.s3.optional)
    if stage in USES_HUB:
        use("hub_secret", _HUB_KEYS, cluster.secrets.hub.optional)
    if stage in USES_MLFLOW:
        use("mlflow_secret", _MLFLOW_KEYS, cluster.secrets.mlflow.optional)
    for secret in cluster.stage(stage).secrets:
        kubernetes.use_secret_as_env(task, secret.name, secret.keys, optional=secret.optional)
