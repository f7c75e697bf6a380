"""The settings of the pipeline on a cluster: what is compiled into it, and the defaults of its parameters."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, Field, field_validator, model_validator

from components.contract.config import LoopSection, RunConfig
from components.contract.errors import InputError
from components.contract.section import Count, Section, StageName
from components.contract.yaml_text import read_yaml
from components.runtime.parent import Limits
from pipelines.cluster.cluster_sections import (
    PRESETS,
    Backoff,
    Cache,
    Device,
    Layout,
    ObjectName,
    PodName,
    Secrets,
    StagePlacement,
    TrainJob,
)

STAGES: tuple[StageName, ...] = get_args(StageName)
PODS: dict[Layout, tuple[PodName, ...]] = {"workers": STAGES, "pod": ("prepare", "pod", "publish"), "tasks": STAGES}
"""The kinds of pods that a run has."""
# The pods that receive each secret or volume.
USES_MLFLOW: tuple[PodName, ...] = ("prepare", "train", "pod", "publish")
USES_HUB: tuple[PodName, ...] = ("prepare",)
USES_CACHE: tuple[PodName, ...] = ("prepare", "rollout", "train", "pod")

_IMAGES = re.compile(r"(?P<prefix>[^\s@]+):(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})")
_MOST_NESTED = 48
# What people change between runs: the images of these, where the code of a new objective or engine is, and their GPUs.
_CHANGED_BETWEEN_RUNS: tuple[PodName, ...] = ("rollout", "train", "pod")
_GPUS_AS = {"rollout": "rollout.engine.tensor_parallel_size", "train": "train.processes", "pod": "train.processes"}
# prepare and publish share a light image.
_IMAGE_OF: dict[PodName, str] = {"prepare": "base", "publish": "base"}


@dataclass(frozen=True)
class ClusterParameter:
    """A parameter of the compiled pipeline about one kind of pod."""

    name: str
    default: str
    description: str


class ClusterConfig(Section):
    """Resources, nodes and images of the stages; nothing here changes what is learned.

    Settings that a stage's section omits have the defaults of `device`. All are compiled into the pipeline; a run can
    change the images and GPUs of some pods (`parameters`).
    """

    in_kubeflow: ClassVar[bool] = True

    layout: Layout = Field(
        default="workers",
        description="workers: a pod for each stage and shard, for the whole run; pod: one pod for all of them; tasks: "
        "a pod for each stage and shard of each iteration",
    )
    device: Device = Field(default="gpu", description="cpu: every stage in the cpu image, without accelerators")
    images: str = Field(default="rapid-rl:0.1.0", description="registry/prefix:tag of the stages' images")
    max_iterations: int = Field(
        default=16, ge=1, description="most iterations of a run in layout tasks; the others have no limit"
    )
    parallel_shards: int = Field(
        default=0, ge=0, description="most rollout shards at a time in layout tasks; 0: no limit"
    )
    train_job: TrainJob | None = Field(
        default=None, description="train in a Kubeflow Trainer job, for runs with train.nodes > 1; null: in one pod"
    )
    queue: str = Field(
        default="", pattern=r"^[a-z0-9.-]*$", description="Kueue local queue of the stages' pods; empty: none"
    )
    service_account: ObjectName = Field(default="rapid-stage", description="of every pod, unless a run names another")
    environment: ObjectName = Field(
        default="rapid-environment", description="config map: AWS_ENDPOINT_URL, AWS_REGION, MLFLOW_TRACKING_URI"
    )
    secrets: Secrets = Secrets()
    cache: Cache | None = Field(default=Cache(), description="null: every pod downloads and compiles its model")
    pod_retries: int = Field(
        default=50, ge=0, le=1000, description="pods that KFP starts again because they vanished: evicted, node lost"
    )
    silence_minutes: Count = Field(
        default=30, description="a worker that is not heard of for longer ends the run; pods wait for nodes"
    )
    backoff: Backoff = Backoff()
    prepare: StagePlacement = StagePlacement()
    rollout: StagePlacement = StagePlacement()
    reward: StagePlacement = StagePlacement()
    train: StagePlacement = StagePlacement()
    publish: StagePlacement = StagePlacement()
    pod: StagePlacement = StagePlacement()

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("device", "gpu") not in PRESETS:
            return value
        filled = dict(value)
        # An empty section means its defaults.
        for stage, preset in PRESETS[value.get("device", "gpu")].items():
            given = filled.get(stage)
            if isinstance(given, BaseModel):
                given = given.model_dump(exclude_unset=True)
            if given is None or isinstance(given, dict):
                filled[stage] = {**preset, **(given or {})}
        return filled

    @field_validator("images")
    @classmethod
    def _prefix_and_tag(cls, value: str) -> str:
        if not _IMAGES.fullmatch(value):
            raise ValueError("must be registry/prefix:tag, for example ghcr.io/me/rapid:1.0")
        return value

    @model_validator(mode="after")
    def _layout_has_them(self) -> Self:
        if self.layout == "workers" and (self.queue or (self.train_job and self.train_job.queue)):
            raise ValueError(
                "a Kueue queue does not go with layout: workers: Kueue admits pods one by one, so two runs could wait "
                "for each other for ever, each with half of its workers; use layout: pod, one pod a run, or tasks"
            )
        if self.layout == "pod" and self.train_job:
            raise ValueError("train_job does not go with layout: pod, which trains in its one pod; use layout: workers")
        if self.layout != "tasks" and self.parallel_shards:
            raise ValueError(
                f"parallel_shards is for layout: tasks: in layout: {self.layout} the shards of a run work side by side"
            )
        return self

    def placement(self, pod: PodName) -> StagePlacement:
        placement = getattr(self, pod)
        assert isinstance(placement, StagePlacement)
        return placement

    def image(self, pod: PodName) -> str:
        """Return the default image of a stage, or of the pod with all of them."""
        match = _IMAGES.fullmatch(self.images)
        assert match is not None
        name = "cpu" if self.device == "cpu" else _IMAGE_OF.get(pod, pod)
        return self.placement(pod).image or f"{match['prefix']}/{name}:{match['tag']}"

    def limits(self, pod: PodName) -> str:
        """Return the limits of a pod's parent process, in the form that its task takes."""
        placement, backoff = self.placement(pod), self.backoff
        return Limits(
            retries=placement.retries,
            backoff_seconds=backoff.seconds,
            backoff_factor=backoff.factor,
            max_backoff_seconds=backoff.max_seconds,
            timeout_minutes=placement.timeout_minutes,
            silence_minutes=self.silence_minutes,
        ).model_dump_json()

    def describe(self) -> str:
        """Return the layout and, where it has one, its limit, for people."""
        limit = f", up to {self.max_iterations} iterations" if self.layout == "tasks" else ""
        return f"layout {self.layout}{limit}"

    def fitting(self, config: RunConfig) -> "ClusterConfig":
        """Return these settings, with a training job if the run trains on several nodes and the layout can have one."""
        if config.train.nodes == 1 or self.train_job or self.layout == "pod":
            return self
        return self.model_copy(update={"train_job": TrainJob()})

    @property
    def parameters(self) -> dict[str, str]:
        """Parameters of the pipeline besides those of the fine-tune itself, with their defaults."""
        return {parameter.name: parameter.default for parameter in self.parameters_of(PODS[self.layout])}

    def parameters_of(self, pods: Iterable[PodName]) -> list[ClusterParameter]:
        """Return the parameters that the given pods have, in a fixed order."""
        if not self.in_kubeflow:
            return []
        changed = [pod for pod in PODS[self.layout] if pod in _CHANGED_BETWEEN_RUNS and pod in set(pods)]
        return [parameter for pod in changed for parameter in self._parameters(pod)]

    def _parameters(self, pod: PodName) -> Iterator[ClusterParameter]:
        yield ClusterParameter(f"{pod}_image", self.image(pod), f"container image of {pod}")
        # Only where there are some: a request of 0 is still a request, and admission plug-ins give such pods the
        # tolerations of the resource's nodes.
        if count := self.placement(pod).accelerators:
            text = f"number of GPUs of {pod}, the same as {_GPUS_AS[pod]} in the configuration"
            # KFP's backend reads a number as an empty string.
            yield ClusterParameter(f"{pod}_accelerators", str(count), text)


class OneMachine(ClusterConfig):
    """The settings of a pipeline for kfp.local: without pods of which a run could change anything, and without jobs."""

    in_kubeflow: ClassVar[bool] = False


def load_cluster(path: Path | None, **overrides: Any) -> ClusterConfig:
    """Read the cluster's settings from YAML; the defaults if there is no file.

    Args:
        overrides: top-level keys that override those of the file, unless they are None.

    Raises:
        InputError: the file cannot be read, or it has an unknown key or an invalid value.
    """
    tree = read_yaml(path) if path else {}
    if not isinstance(tree, dict):
        raise InputError(f"{path} must be a mapping with keys such as images, rollout and train")
    given = {key: value for key, value in overrides.items() if value is not None}
    return ClusterConfig.parse({**tree, **given}, str(path or "cluster settings"))


def local_cluster(loop: LoopSection, layout: Layout = "pod") -> OneMachine:
    """Return the settings for a run on this machine.

    Raises:
        InputError: more iterations than KFP compiles into nested blocks in reasonable time.
    """
    if layout == "tasks" and loop.iterations > _MOST_NESTED:
        raise InputError(
            f"loop.iterations = {loop.iterations}, but layout tasks has at most {_MOST_NESTED} on one machine; "
            "layout pod has no limit"
        )
    return OneMachine.model_validate(
        {
            "layout": layout,
            "max_iterations": max(1, loop.iterations),
            # Two engines would compete for one GPU or the same cores.
            "parallel_shards": 1 if layout == "tasks" else 0,
            "cache": None,
            # No pod is lost on one machine, and a person waits.
            "pod_retries": 0,
            "backoff": {"seconds": 1, "max_seconds": 10},
        }
    )
