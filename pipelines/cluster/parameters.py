"""Run-time parameters of the pipeline that say where and with what its stages run.

Numbers among them are strings: the backend reads what a pod asks for as a string and takes a number for an empty one.
"""

from dataclasses import dataclass
from typing import Any, get_args

from components.contract.section import StageName
from pipelines.cluster.sections import Cache, Secrets, StagePlacement, TrainJob

STAGES: tuple[StageName, ...] = get_args(StageName)
# Which stages are given what; a stage that is not named has no business with it.
USES_MLFLOW: tuple[StageName, ...] = ("prepare", "train", "publish")
USES_HUB: tuple[StageName, ...] = ("prepare",)
USES_CACHE: tuple[StageName, ...] = ("prepare", "rollout", "train")

ParameterValue = str | dict[str, str] | list[dict[str, Any]]


@dataclass(frozen=True)
class ClusterParameter:
    """A parameter of the compiled pipeline, with the stages that need it."""

    name: str
    default: ParameterValue
    description: str
    stages: tuple[StageName, ...]


def stage_parameters(stage: StageName, placement: StagePlacement, image: str | None) -> list[ClusterParameter]:
    """What one stage asks for. `image` is None where it is compiled into the pipeline."""
    # An amount of 0 would still be a request, and admission plug-ins give pods that request a resource the
    # tolerations of its nodes. Without a type nothing is requested.
    accelerator = placement.accelerator if placement.accelerators else ""
    values: list[tuple[str, ParameterValue, str]] = [
        ("cpu", placement.cpu, "CPU cores, request and limit"),
        ("memory", placement.memory, "memory, request and limit"),
        ("accelerator", accelerator, "type of accelerator, such as nvidia.com/gpu; empty for none"),
        ("accelerators", str(placement.accelerators), "number of accelerators"),
        ("node_selector", dict(placement.node_selector), "labels its node must have, a JSON object"),
        (
            "tolerations",
            [toleration.model_dump(exclude_none=True) for toleration in placement.tolerations],
            "taints its node may have, a JSON list of Kubernetes tolerations",
        ),
    ]
    if image is not None:
        values.append(("image", image, "container image"))
    return [ClusterParameter(f"{stage}_{name}", value, f"{stage}, {text}.", (stage,)) for name, value, text in values]


def job_parameters(job: TrainJob, image: str | None) -> list[ClusterParameter]:
    """Of training as a job; what its nodes ask for are the parameters of the stage. `image` as of a stage."""
    images = {"train_launcher_image": image} if image is not None else {}
    return [
        *(ClusterParameter(name, value, "image of the launcher.", ("train",)) for name, value in images.items()),
        ClusterParameter("train_runtime", job.runtime, "TrainingRuntime of the training pods.", ("train",)),
        ClusterParameter(
            "train_resources", dict(job.resources), "more resources of a node, a JSON object.", ("train",)
        ),
        ClusterParameter("train_queue", job.queue, "Kueue's local queue for training; empty for none.", ("train",)),
    ]


def shared_parameters(environment: str, secrets: Secrets, cache: Cache | None) -> list[ClusterParameter]:
    """Names of what several stages find in the cluster."""
    shared = [
        ClusterParameter("environment", environment, "config map with endpoints.", STAGES),
        ClusterParameter("s3_secret", secrets.s3.name, "secret with the keys of object storage.", STAGES),
        ClusterParameter("hub_secret", secrets.hub.name, "secret with the token of the model hub.", USES_HUB),
        ClusterParameter("mlflow_secret", secrets.mlflow.name, "secret with MLflow's credentials.", USES_MLFLOW),
    ]
    if cache:
        shared.append(ClusterParameter("cache", cache.claim, "volume claim for models and compiled code.", USES_CACHE))
    return shared
