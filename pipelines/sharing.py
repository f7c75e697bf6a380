"""Writes equal parts of a compiled pipeline once.

KFP's compiler copies a nested pipeline, its code included, for every place that calls it. The IR itself lets tasks
refer to one component, and its backend visits each component once, however many tasks refer to it.
"""

import json
from collections.abc import Callable
from typing import Any

Spec = dict[str, Any]


def share_equal_parts(spec: Spec, platform: Spec) -> None:
    """Merge equal executors and components, in place; each keeps the first of the names it had.

    Args:
        spec: the pipeline specification.
        platform: the platform specification; an executor's Kubernetes settings belong to what it is.
    """
    components, executors = spec["components"], spec["deploymentSpec"]["executors"]
    settings = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    renamed = _merge(executors, lambda name: [executors[name], settings.get(name)])
    for name in renamed:
        settings.pop(name, None)
    for component in components.values():
        if "executorLabel" in component:
            component["executorLabel"] = renamed.get(component["executorLabel"], component["executorLabel"])
    # Components that hold merged ones may have become equal by that.
    while renamed := _merge(components, lambda name: components[name]):
        for holder in (spec["root"], *components.values()):
            for task in holder.get("dag", {}).get("tasks", {}).values():
                reference = task["componentRef"]
                reference["name"] = renamed.get(reference["name"], reference["name"])


def _merge(parts: Spec, identity: Callable[[str], object]) -> dict[str, str]:
    """Drop all but the first of equal parts; names of the dropped, and of what stands for them."""
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
    """comp-rollout before comp-rollout-2 before comp-rollout-10."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isdecimal() else (name, 0)
