"""How the pipeline is laid out on a cluster: what is compiled into it, and what each start may set."""

from pathlib import Path

from pydantic import Field, ValidationError
from yaml import YAMLError

from components.contract.errors import InputError, explain_validation
from components.contract.section import Count, Section
from components.contract.yaml_text import load_yaml


class ClusterConfig(Section):
    """Settings of the pipeline that say nothing about what is learned, only where and with what."""

    max_iterations: Count = Field(default=16, description="most iterations a run of the compiled pipeline can have")
    parallel_shards: int = Field(default=0, ge=0, description="most rollout shards side by side; 0: no bound")

    @property
    def parameters(self) -> dict[str, str | int]:
        """Run-time parameters of the pipeline, beyond those of the fine-tune itself."""
        return {}


def load_cluster(path: Path | None) -> ClusterConfig:
    """Read the cluster's settings from YAML; the defaults where there is no file.

    Raises:
        InputError: the file cannot be read, or a key is unknown or its value impossible.
    """
    if path is None:
        return ClusterConfig()
    try:
        return ClusterConfig.model_validate(load_yaml(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}") from None
    except ValidationError as error:
        raise explain_validation(error, str(path)) from None
