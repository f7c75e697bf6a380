"""Training as a job on other nodes, in the pipeline."""

from typing import Any

from kfp import kubernetes
from kfp.dsl.pipeline_task import PipelineTask

from components.trainjob.component import train_job
from pipelines.cluster.config import ClusterConfig
from pipelines.cluster.placement import Channels, equip

# It waits for answers of the Kubernetes API; most of the memory is Python's, for the SDK's models.
_CPU = "500m"
_MEMORY = "1Gi"
_SCRATCH = "1Gi"


def launched(run_uri: Any, number: Any, rewards: Any, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    """The task that launches an iteration's training and follows it.

    What the stage asks for is asked for each node of the job. The time-out is the job's, which does not count the time
    in a queue; the launcher waits as long as that takes.
    """
    assert cluster.train_job is not None
    image: Any = cluster.image("train")
    launcher: Any = cluster.image("prepare")
    if cluster.image_parameters:
        image, launcher = channels["train_image"], channels["train_launcher_image"]
    task = train_job(
        run_uri=run_uri,
        iteration=number,
        rewards=rewards,
        image=image,
        cache=channels["cache"] if cluster.cache else "",
        deadline_minutes=cluster.train.timeout_minutes,
        runtime=channels["train_runtime"],
        queue=channels["train_queue"],
        resources=channels["train_resources"],
        **{
            name: channels[f"train_{name}"]
            for name in ("cpu", "memory", "accelerator", "accelerators", "node_selector", "tolerations")
        },
    )
    task.set_cpu_request(_CPU).set_cpu_limit(_CPU).set_memory_request(_MEMORY).set_memory_limit(_MEMORY)
    task.set_container_image(launcher)
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=_SCRATCH)
    return equip(task, "train", cluster, channels)
