"""How the pipeline is laid out on a cluster: what is compiled into it, and what each start may set."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from components.contract.config import LoopSection, RunConfig
from components.contract.errors import InputError, explain_validation
from components.contract.section import Section, StageName, known_keys
from components.contract.yaml_text import load_yaml
from pipelines.cluster.parameters import (
    STAGES,
    ClusterParameter,
    ParameterValue,
    job_parameters,
    shared_parameters,
    stage_parameters,
)
from pipelines.cluster.presets import PRESETS, Device
from pipelines.cluster.sections import Backoff, Cache, ObjectName, Secrets, StagePlacement, TrainJob

_IMAGES = re.compile(r"(?P<prefix>[^\s@]+):(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})")
# prepare and publish are light, and run in one image.
_IMAGE_OF: dict[StageName, str] = {"prepare": "base", "publish": "base"}


class ClusterConfig(Section):
    """Settings of the pipeline that say nothing about what is learned, only where and with what.

    What a stage's section leaves out has the values of `device`. Everything that KFP can take at run time is a
    default of a parameter of the compiled pipeline (`parameters`); the rest is compiled into it.
    """

    device: Device = Field(default="gpu", description="cpu: every stage in the one cpu image, no accelerators")
    images: str = Field(default="rapid-rl:0.1.0", description="registry/prefix:tag of the stages' images")
    image_parameters: bool = Field(
        default=True, description="false: images cannot be set at run time, which kfp.local's DockerRunner needs"
    )
    max_iterations: int = Field(
        default=16, ge=1, le=48, description="most iterations a run of the compiled pipeline can have"
    )
    parallel_shards: int = Field(default=0, ge=0, description="most rollout shards side by side; 0: no bound")
    pipelined: bool = Field(
        default=False, description="sample for the next iteration while one trains; for runs with loop.staleness=1"
    )
    train_job: TrainJob | None = Field(
        default=None, description="train as a Kubeflow Trainer job, for runs with train.nodes > 1; null: in one pod"
    )
    queue: str = Field(
        default="", pattern=r"^[a-z0-9.-]*$", description="Kueue's local queue for the pods of stages; empty: none"
    )
    service_account: ObjectName = Field(default="rapid-stage", description="of every pod, where a run names no other")
    environment: ObjectName = Field(
        default="rapid-environment", description="config map: AWS_ENDPOINT_URL, AWS_REGION, MLFLOW_TRACKING_URI"
    )
    secrets: Secrets = Secrets()
    cache: Cache | None = Field(default=Cache(), description="null: models are fetched and compiled in every pod")
    backoff: Backoff = Backoff()
    prepare: StagePlacement = StagePlacement()
    rollout: StagePlacement = StagePlacement()
    reward: StagePlacement = StagePlacement()
    train: StagePlacement = StagePlacement()
    publish: StagePlacement = StagePlacement()

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("device", "gpu") not in PRESETS:
            return value
        filled = dict(value)
        # An empty section means its defaults, not the absence of a cache.
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

    def stage(self, stage: StageName) -> StagePlacement:
        placement = getattr(self, stage)
        assert isinstance(placement, StagePlacement)
        return placement

    def image(self, stage: StageName) -> str:
        """The image that a stage runs in where a run names no other."""
        match = _IMAGES.fullmatch(self.images)
        assert match is not None
        name = "cpu" if self.device == "cpu" else _IMAGE_OF.get(stage, stage)
        return self.stage(stage).image or f"{match['prefix']}/{name}:{match['tag']}"

    def fitting(self, config: RunConfig) -> "ClusterConfig":
        """These settings, with a training job where the run needs one."""
        if config.train.nodes == 1 or self.train_job:
            return self
        return self.model_copy(update={"train_job": TrainJob()})

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """Run-time parameters of the pipeline beyond those of the fine-tune itself, with their defaults."""
        return {parameter.name: parameter.default for parameter in self.parameters_of(STAGES)}

    def parameters_of(self, stages: Iterable[StageName]) -> list[ClusterParameter]:
        """Those that any of the stages needs, in an order that does not change."""
        of_stages = [
            parameter
            for stage in STAGES
            for parameter in stage_parameters(
                stage, self.stage(stage), self.image(stage) if self.image_parameters else None
            )
        ]
        shared = shared_parameters(self.environment, self.secrets, self.cache)
        launcher = self.image("prepare") if self.image_parameters else None
        job = job_parameters(self.train_job, launcher) if self.train_job else []
        wanted = set(stages)
        return [parameter for parameter in of_stages + job + shared if wanted.intersection(parameter.stages)]


def load_cluster(path: Path | None, **replaced: Any) -> ClusterConfig:
    """Read the cluster's settings from YAML; the defaults where there is no file.

    Args:
        replaced: top-level keys that go before those of the file, None where they do not.

    Raises:
        InputError: the file cannot be read, or a key is unknown or its value impossible.
    """
    tree: Any = {}
    try:
        if path is not None:
            tree = load_yaml(path.read_text(encoding="utf-8"), str(path))
            if not isinstance(tree, dict):
                raise InputError(f"{path} must be a mapping with keys such as images, rollout and train")
        given = {key: value for key, value in replaced.items() if value is not None}
        return ClusterConfig.model_validate({**tree, **given})
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    except ValidationError as error:
        raise explain_validation(error, str(path) if path else "cluster settings", known_keys(ClusterConfig)) from None


def local_cluster(loop: LoopSection) -> ClusterConfig:
    """Settings for a run on one machine, where no pod is made: no cache volume, no images to choose."""
    return ClusterConfig.model_validate(
        {
            "max_iterations": max(1, loop.iterations),
            # One machine has one GPU, or cores that two engines would only take from each other.
            "parallel_shards": 1,
            "pipelined": loop.staleness > 0,
            "cache": None,
            "image_parameters": False,
            # Nothing is lost here that would be back after a while, and a mistake is to be said at once.
            **{stage: {"retries": 0} for stage in STAGES},
        }
    )
