"""Settings of a training job's pods."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from components.contract.errors import InputError, explain_validation
from components.contract.section import Section, known_keys
from components.contract.yaml_text import load_yaml

RUNTIME = "rapid-train"
"""The TrainingRuntime in k8s/: the settings that all training pods of an installation share."""

Quantity = Annotated[int | str, Field(description="as Kubernetes writes it, such as 8 or 64Gi")]


class JobSettings(Section):
    """A TrainJob's demands on the cluster; the number of nodes and processes belongs to the run (`train.nodes`)."""

    image: str = Field(min_length=1, max_length=500, description="of the training pods")
    runtime: str = Field(default=RUNTIME, min_length=1, description="TrainingRuntime, or ClusterTrainingRuntime")
    resources: dict[str, Quantity] = Field(
        default_factory=dict, description="of each node, requested and at most: cpu, memory, nvidia.com/gpu"
    )
    node_selector: dict[str, str] = Field(default_factory=dict, description="labels the nodes must have")
    tolerations: tuple[dict[str, Any], ...] = Field(default=(), description="taints the pods put up with")
    cache_claim: str = Field(
        default="", description="ReadWriteMany volume claim for compile caches, mounted at /cache; empty: none"
    )
    queue: str = Field(default="", description="Kueue's local queue; empty: Kueue is not asked")
    deadline_seconds: int = Field(default=0, ge=0, description="the job fails after so long; 0: never")


def load_settings(path: Path) -> JobSettings:
    """Read settings from YAML.

    Raises:
        InputError: the file cannot be read, or a key is unknown or its value impossible.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}") from None
    return job_settings(load_yaml(text, str(path)), str(path))


def job_settings(tree: Any, what: str) -> JobSettings:
    """Validate a mapping; InputError as in `load_settings`."""
    try:
        return JobSettings.model_validate(tree)
    except ValidationError as error:
        raise explain_validation(error, what, known_keys(JobSettings)) from None
