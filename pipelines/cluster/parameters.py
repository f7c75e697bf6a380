"""Parameters of the pipeline that place its stages: resources, nodes, images, names of secrets.

Numbers are passed as strings: KFP's backend reads resource requests as strings and a number as an empty string.
"""

from dataclasses import dataclass
from typing import Any, get_args

from components.contract.section import StageName
from pipelines.cluster.cluster_sections import Cache, Secrets, StagePlacement, TrainJob

STAGES: tuple[StageName, ...] = get_args(StageName)
# The stages that receive each secret or volume.
USES_MLFLOW: tuple[StageName, ...] = ("prepare", "train", "publish")
USES_HUB: tuple[StageName, ...] = ("prepare",)
USES_CACHE: tuple[StageName, ...] = ("prepare", "rollout", "train")

ParameterValue = str | dict[str, str] | list[dict[str, Any]]


@dataclass(frozen=True)
class ClusterParameter:
    """A parameter of the compiled pipeline, and the stages that need it."""

    name: str
    default: ParameterValue
    description: str
    stages: tuple[StageName, ...]


def stage_parameters(stage: StageName, placement: StagePlacement, image: str | None) -> list[ClusterParameter]:
    """Return the parameters of one stage. `image` is None if it is compiled into the pipeline."""
    # A request of 0 is still a request, and admission plug-ins give such pods the tolerations of the resource's nodes.
    # Without a type nothing is requested.
    accelerator = placement.accelerator if placement.accelerators else ""
    values: list[tuple[str, ParameterValue, str]] = [
        ("cpu", placement.cpu, "CPU cores, request and limit"),
        ("memory", placement.memory, "memory, request and limit"),
        ("accelerator", accelerator, "type of accelerator, such as nvidia.com/gpu; empty for none"),
        ("accelerators", str(placement.accelerators), "number of accelerators"),
        ("node_selector", dict(placement.node_selector), "labels that its node must have, a JSON object"),
        (
            "tolerations",
            [toleration.model_dump(exclude_none=True) for toleration in placement.tolerations],
            "taints that its node may have, a JSON list of Kubernetes tolerations",
        ),
    ]
    if image is not None:
        values.append(("image", image, "container image"))
    return [ClusterParameter(f"{stage}_{name}", value, f"{stage}, {text}.", (stage,)) for name, value, text in values]


def job_parameters(job: TrainJob, image: str | None) -> list[ClusterParameter]:
    """Return the parameters of a training job besides those of the train stage. `image` is that of the launcher."""
    images = {"train_launcher_image": image} if image is not None else {}
    return [
        *(ClusterParameter(name, value, "image of the launcher.", ("train",)) for name, value in images.items()),
        ClusterParameter("train_runtime", job.runtime, "TrainingRuntime of the training pods.", ("train",)),
        ClusterParameter(
            "train_resources", dict(job.resources), "further resources of a node, a JSON object.", ("train",)
        ),
        ClusterParameter("train_queue", job.queue, "Kueue local queue for training; empty for none.", ("train",)),
    ]


def shared_parameters(environment: str, secrets: Secrets, cache: Cache | None) -> list[ClusterParameter]:
    """Return the parameters that several stages share: names of objects in the cluster."""
    shared = [
        ClusterParameter("environment", environment, "config map with endpoints.", STAGES),
        ClusterParameter("s3_secret", secrets.s3.name, "secret with the keys of the object storage.", STAGES),
        ClusterParameter("hub_secret", secrets.hub.name, "secret with the token of the model hub.", USES_HUB),
        ClusterParameter("mlflow_secret", secrets.mlflow.name, "secret with MLflow's credentials.", USES_MLFLOW),
    ]
    if cache:
        shared.append(
            ClusterParameter("cache", cache.claim, "volume claim for models and compiled kernels.", USES_CACHE)
        )
    return shared
