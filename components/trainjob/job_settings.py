"""Settings and names of training jobs: whoever launches the same training finds the same job."""

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from components.contract.digests import bytes_digest
from components.contract.section import Section
from components.contract.yaml_text import read_yaml

# JobSet extends it to `<job>-node-0-<index>-<5 letters>`, a DNS label of at most 63 characters.
_RUN_LETTERS = 20

Quantity = Annotated[int | str, Field(description="as Kubernetes writes it, such as 8 or 64Gi")]


class JobSettings(Section):
    """A TrainJob's demands on the cluster; the number of nodes and processes belongs to the run (`train.nodes`)."""

    image: str = Field(min_length=1, max_length=500, description="of the training pods")
    runtime: str = Field(default="rapid-train", min_length=1, description="TrainingRuntime, or ClusterTrainingRuntime")
    resources: dict[str, Quantity] = Field(
        default_factory=dict, description="request and limit of each node: cpu, memory, nvidia.com/gpu"
    )
    node_selector: dict[str, str] = Field(default_factory=dict, description="labels the nodes must have")
    tolerations: tuple[dict[str, Any], ...] = Field(default=(), description="taints the pods tolerate")
    cache_claim: str = Field(
        default="", description="ReadWriteMany volume claim for compile caches, mounted at /cache; empty: none"
    )
    queue: str = Field(default="", description="Kueue's local queue; empty: without Kueue")
    deadline_seconds: int = Field(default=0, ge=0, description="time limit of an iteration; 0: none")

    @classmethod
    def from_task(
        cls, cpu: str, memory: str, accelerator: str, accelerators: str, more: dict[str, Quantity], **settings: Any
    ) -> Self:
        """Return the settings that the parameters of a pipeline's task ask for.

        Args:
            cpu, memory, accelerator, accelerators: of each node; an empty accelerator, or 0 of them, is none.
            more: further resources of each node.
            settings: other fields of this section.

        Raises:
            InputError: a value is invalid.
        """
        resources = {"cpu": cpu, "memory": memory, **more}
        if accelerator and accelerators != "0":
            resources[accelerator] = accelerators
        return cls.parse({"resources": resources, **settings}, "pipeline parameters")


def load_settings(path: Path) -> JobSettings:
    """Read settings from YAML.

    Raises:
        InputError: the file cannot be read, or a key is unknown or its value invalid.
    """
    return JobSettings.parse(read_yaml(path), str(path))


def job_name(run_uri: str, iteration: int | None) -> str:
    """Return a DNS label of at most 40 characters, the same for the same run in the same store.

    Args:
        iteration: None for a job that trains every iteration.

    The run's name is for people; the digest distinguishes runs of similar names and of other stores.
    """
    run = re.sub(r"[^a-z0-9]+", "-", run_uri.rpartition("/")[2].lower()).strip("-")
    which = "train" if iteration is None else f"{iteration:04d}"
    return f"rapid-{run[:_RUN_LETTERS].rstrip('-')}-{which}-{bytes_digest(run_uri.encode())[:8]}"


def label_value(run: str) -> str:
    """Return a run's name as the value of a label, which has to end in a letter or digit."""
    return run.rstrip("._-")
