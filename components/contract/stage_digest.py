"""Digests of the options that a stage's outputs depend on, as each option declares by `affects`."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from components.contract.config import RunConfig
from components.contract.digests import json_digest
from components.contract.section import StageName, affected_stages


def stage_digest(config: RunConfig, stage: StageName) -> str:
    """Return the SHA-256 over the options that affect the stage's outputs."""
    return json_digest(_options_affecting(config, [stage]))


def changed_options(old: RunConfig, new: RunConfig, stages: Iterable[StageName]) -> list[str]:
    """List the options that affect the outputs of `stages` and differ, as `key: old -> new`."""
    stages = list(stages)
    before, after = _options_affecting(old, stages), _options_affecting(new, stages)
    differences = {
        key: f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }
    span = "train.schedule_steps"
    derived = old.train.schedule_steps is None and new.train.schedule_steps is None
    if span in differences and derived and before[span] and after[span]:
        if old.loop.iterations != new.loop.iterations:
            differences[span] = (
                f"loop.iterations changes the span of the {old.train.schedule} schedule; "
                f"set {span}={before[span]} to keep it"
            )
        else:
            # The span follows from train.updates.most, which is among the differences itself.
            del differences[span]
    return list(differences.values())


def _options_affecting(config: RunConfig, stages: Iterable[StageName]) -> dict[str, Any]:
    """Dotted keys and values of the options that affect any of the stages."""
    marked = [key for stage in stages for key in _keys(stage)]
    return {
        key: value
        for key, value in _effective(config).items()
        if any(key == above or key.startswith(f"{above}.") for above in marked)
    }


@cache
def _keys(stage: StageName) -> tuple[str, ...]:
    return tuple(key for key, stages in affected_stages(RunConfig).items() if stage in stages)


def _effective(config: RunConfig) -> dict[str, Any]:
    """Dotted keys and values, with defaults that derive from other options resolved."""
    flat = _flatten(config.model_dump(mode="json"))
    flat["evaluate.max_tokens"] = config.evaluate.max_tokens or config.rollout.max_tokens
    # A label that equals the grader's name changes nothing.
    for grader in flat["reward.graders"]:
        if grader["label"] in (None, grader["name"]):
            del grader["label"]
    scheduled = config.train.schedule != "constant"
    flat["train.schedule_steps"] = config.total_steps if scheduled else None
    flat["train.min_learning_rate"] = config.train.min_learning_rate if scheduled else None
    return flat


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
