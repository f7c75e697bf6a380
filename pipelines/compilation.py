"""Compile the pipeline to IR YAML."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.compiler.pipeline_spec_builder import write_pipeline_spec_to_file
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from components.contract.errors import InputError
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.pipeline import rapid_pipeline

Spec = dict[str, Any]


def compile_pipeline(path: Path, cluster: ClusterConfig) -> None:
    """Write the IR YAML: the pipeline, followed by the Kubernetes settings of its stages.

    Args:
        path: a file name that ends in .yaml or .yml, in an existing folder.
        cluster: the values that are fixed at compile time, and the defaults of the pipeline's parameters. In layout
            tasks the YAML grows by 11 to 16 KB with each iteration; `workflow_size` says what fits.

    Raises:
        InputError: `path` cannot be written or is not a YAML file name.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path} is not a YAML file name: it must end in .yaml or .yml")
    pipeline = rapid_pipeline(cluster)
    spec = json_format.MessageToDict(pipeline.pipeline_spec)
    platform = json_format.MessageToDict(pipeline.platform_spec)
    share_equal_parts(spec, platform)
    try:
        write_pipeline_spec_to_file(
            json_format.ParseDict(spec, PipelineSpec()),
            pipeline.description,
            json_format.ParseDict(platform, PlatformSpec()),
            str(path),
        )
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None


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
