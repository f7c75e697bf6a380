"""Compile the pipeline to KFP's IR."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format

from components.contract.config import RunConfig
from components.contract.digests import json_digest
from components.contract.errors import InputError
from components.contract.resolve import config_json
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.pipeline import rapid_pipeline

Spec = dict[str, Any]


@dataclass(frozen=True)
class CompiledPipeline:
    """A pipeline as KFP's IR.

    Attributes:
        spec: the tasks and parameters.
        platform: the Kubernetes settings of the tasks.
    """

    spec: Spec
    platform: Spec

    def with_config(self, config: RunConfig) -> "CompiledPipeline":
        """Return the pipeline with this configuration as the default of its parameter `config`."""
        spec = copy.deepcopy(self.spec)
        parameters = spec["root"]["inputDefinitions"]["parameters"]
        parameters["config"] |= {"defaultValue": config_json(config), "isOptional": True}
        return CompiledPipeline(spec, self.platform)

    @property
    def digest(self) -> str:
        """SHA-256 of what the pipeline means: the same for all releases of KFP that compile it alike."""
        meaning = {key: value for key, value in self.spec.items() if key != "sdkVersion"}
        return json_digest([meaning, self.platform])

    def write(self, path: Path) -> None:
        """Write the IR YAML: the pipeline, followed by the Kubernetes settings of its stages.

        Args:
            path: a file name that ends in .yaml or .yml, in an existing folder.

        Raises:
            InputError: `path` cannot be written or is not a YAML file name.
        """
        if path.suffix not in (".yaml", ".yml"):
            raise InputError(f"{path} is not a YAML file name: it must end in .yaml or .yml")
        # The comment in which KFP's own function repeats the defaults breaks where one has several lines.
        documents = [self.spec, self.platform] if self.platform else [self.spec]
        try:
            with path.open("w", encoding="utf-8") as file:
                yaml.dump_all(documents, file, yaml.CSafeDumper, sort_keys=True)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None


def compile_pipeline(cluster: ClusterConfig) -> CompiledPipeline:
    """Compile the pipeline of these settings, which takes seconds; its parameter `config` has no default.

    In layout tasks the YAML grows by 11 to 16 KB with each iteration; `workflow_size` says what fits.
    """
    pipeline = rapid_pipeline(cluster)
    spec = json_format.MessageToDict(pipeline.pipeline_spec)
    platform = json_format.MessageToDict(pipeline.platform_spec)
    share_equal_parts(spec, platform)
    return CompiledPipeline(spec, platform)


def share_equal_parts(spec: Spec, platform: Spec) -> None:
    """Merge equal executors and equal components in place; each keeps the first of its names.

    KFP's compiler copies a nested pipeline, code included, to every place that calls it. The IR lets several tasks
    refer to one component, and KFP's backend visits each component once however many tasks refer to it.

    Args:
        spec: the pipeline specification.
        platform: the platform specification, whose Kubernetes settings are part of an executor's identity.
    """
    components, executors = spec["components"], spec["deploymentSpec"]["executors"]
    settings = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    renamed = _merge(executors, lambda name: [executors[name], settings.get(name)])
    for name in renamed:
        settings.pop(name, None)
    for component in components.values():
        if "executorLabel" in component:
            component["executorLabel"] = renamed.get(component["executorLabel"], component["executorLabel"])
    # Merging components can make the components that contain them equal.
    while renamed := _merge(components, lambda name: components[name]):
        for holder in (spec["root"], *components.values()):
            for task in holder.get("dag", {}).get("tasks", {}).values():
                reference = task["componentRef"]
                reference["name"] = renamed.get(reference["name"], reference["name"])


def _merge(parts: Spec, identity: Callable[[str], object]) -> dict[str, str]:
    """Drop all but the first of equal parts; return each dropped name with the name that replaces it."""
    kept: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for name in sorted(parts, key=_natural):
        same = kept.setdefault(json.dumps(identity(name), sort_keys=True), name)
        if same != name:
            renamed[name] = same
    for name in renamed:
        del parts[name]
    return renamed


def _natural(name: str) -> tuple[str, int]:
    """Return a sort key that orders comp-rollout, comp-rollout-2, comp-rollout-10."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isdecimal() else (name, 0)
