"""The resources that the pods of a stage request, read from the pipeline version of a run."""

import re
from collections.abc import Mapping
from typing import Any

_COMPONENTS = {"train": ("comp-train", "comp-train-job")}
_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['pipelinechannel--(\w+)'\]\}\}")


def pod_request(spec: Mapping[str, Any], stage: str, arguments: Mapping[str, Any]) -> str:
    """Return what a stage's pod requests, such as `8 cores, 48Gi of memory, 1 nvidia.com/gpu`; empty if unknown.

    Args:
        spec: the compiled pipeline.
        arguments: values of the run's parameters; others have the defaults of the pipeline.
    """
    names = _COMPONENTS.get(stage, (f"comp-{stage}",))
    labels = [spec["components"][name].get("executorLabel") for name in names if name in spec["components"]]
    if not labels:
        return ""
    resources = spec["deploymentSpec"]["executors"][labels[0]]["container"].get("resources", {})
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})

    def value(text: object) -> str:
        match = _PARAMETER.fullmatch(str(text or ""))
        if match is None:
            return str(text or "")
        return str(arguments.get(match[1], declared.get(match[1], {}).get("defaultValue", "")))

    accelerator = resources.get("accelerator", {})
    kind, count = value(accelerator.get("resourceType")), value(accelerator.get("resourceCount"))
    cores, memory = value(resources.get("resourceCpuRequest")), value(resources.get("resourceMemoryRequest"))
    found = [
        f"{cores} core{'' if cores == '1' else 's'}" if cores else "",
        f"{memory} of memory" if memory else "",
        f"{count} {kind}" if kind else "",
    ]
    return ", ".join(part for part in found if part)
