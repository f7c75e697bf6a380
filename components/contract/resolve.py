"""From a YAML file and `key=value` words to a validated configuration, and its digests."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from components.contract.config import RunConfig
from components.contract.digests import json_digest
from components.contract.errors import InputError, explain_validation
from components.contract.section import Section, StageName
from components.contract.yaml_text import load_yaml

# What the outputs of a stage depend on, besides the inputs that its manifest names (the content of data files among
# them). Keys left out (speed, memory, limits on what is tolerated, tracking, the number of iterations) may change
# between two starts of the same run without invalidating what is committed.
_DEPENDS: dict[StageName, tuple[str, ...]] = {
    "prepare": (
        "run.seed",
        "model.path",
        "model.revision",
        "model.max_length",
        "data.eval_prompts",
        "data.chat",
        "data.system_prompt",
        # Prompts that leave no room for the longest completion are dropped.
        "rollout.max_tokens",
        "evaluate.max_tokens",
    ),
    "rollout": (
        "run.seed",
        "model.dtype",
        "model.max_length",
        "rollout.group_size",
        "rollout.max_tokens",
        "rollout.temperature",
        "rollout.stop",
        "rollout.shards",
        "rollout.oversampling",
        "loop.staleness",
        "train.updates",
        "train.mini_batch_prompts",
        "evaluate.samples",
        "evaluate.temperature",
        "evaluate.top_p",
        "evaluate.max_tokens",
    ),
    "reward": (
        "reward.graders",
        "reward.time_limit",
        "reward.sandbox.seconds",
        "reward.sandbox.cpu_seconds",
        "reward.sandbox.memory_mib",
        "reward.sandbox.processes",
        "reward.sandbox.file_mib",
        "reward.sandbox.output_kib",
    ),
    "train": (
        "run.seed",
        "rollout.temperature",
        "model.dtype",
        "train.objective",
        "train.cloning",
        "train.kl_coefficient",
        "train.entropy_coefficient",
        "train.overlong",
        "train.zero_signal_groups",
        "train.updates",
        "train.mini_batch_prompts",
        "train.learning_rate",
        "train.schedule",
        "train.schedule_steps",
        "train.warmup_steps",
        "train.min_learning_rate",
        "train.betas",
        "train.weight_decay",
        "train.max_grad_norm",
        "train.compute_dtype",
        "train.min_effective_sample_share",
        "train.max_kl",
        "train.max_bad_group_share",
        "train.lora",
    ),
    "publish": ("evaluate.pass_k", "evaluate.pass_threshold"),
}


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a YAML configuration and apply `dotted.key=value` words to it.

    Raises:
        InputError: the file is missing or not YAML, a word is not `key=value`, a key is unknown or a value
            impossible.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"no configuration at {path.absolute()}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the configuration {path}: {error}") from None
    return parse_config(text, overrides, what=str(path))


def parse_config(text: str, overrides: Iterable[str] = (), what: str = "configuration") -> RunConfig:
    """Parse YAML (or JSON) text with overrides; errors as in `load_config`."""
    try:
        tree = load_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(f"{what} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{what} must be a mapping with sections such as run, model and data")
    for word in overrides:
        _apply(tree, word)
    return validate_config(tree, what)


def parameter_overrides(run: str, model: str, data: str, iterations: int) -> list[str]:
    """What a pipeline's run-time parameters replace in its configuration: empty and negative ones nothing."""
    given = {"run.name": run, "model.path": model, "data.train": data}
    # Quoted: a run may be called 2026, and no number is meant.
    words = [f"{key}={json.dumps(value)}" for key, value in given.items() if value]
    return [*words, f"loop.iterations={iterations}"] if iterations >= 0 else words


def validate_config(tree: Mapping[str, Any], what: str = "configuration") -> RunConfig:
    """Validate a mapping; an unknown key is answered with the nearest known one."""
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        explained = explain_validation(error, what)
        hints = [
            f"{'.'.join(str(p) for p in item['loc'])}: did you mean {near[0]!r}?"
            for item in error.errors()
            if item["type"] == "extra_forbidden" and (near := _nearest(item["loc"]))
        ]
        raise InputError("; ".join([str(explained), *hints])) from None


def known_keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """Every dotted key of the configuration: leaves, and below a list the keys of its items."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += known_keys(inner, f"{prefix}{name}.")
            continue
        keys.append(prefix + name)
        for item in get_args(inner):
            if isinstance(item, type) and issubclass(item, BaseModel):
                keys += known_keys(item, f"{prefix}{name}.")
    return keys


def config_json(config: RunConfig) -> str:
    """The resolved configuration as stored in a run."""
    return config.model_dump_json(indent=2) + "\n"


def stage_digest(config: RunConfig, stage: StageName) -> str:
    """SHA-256 over what the outputs of a stage depend on."""
    flat = _in_force(config)
    if not config.loop.staleness:
        # Sampling from the newest policy is what goes without saying.
        del flat["loop.staleness"]
    wanted = _DEPENDS[stage]
    return json_digest({key: value for key, value in flat.items() if _under(key, wanted)})


def binding_differences(old: RunConfig, new: RunConfig, stages: Iterable[StageName]) -> list[str]:
    """Keys that the outputs of `stages` depend on and that differ, as `key: old -> new`."""
    bound = tuple(key for stage in stages for key in _DEPENDS[stage])
    before, after = _in_force(old), _in_force(new)
    differences = {
        key: f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if _under(key, bound) and before.get(key) != after.get(key)
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
            # It follows from train.updates, which is among the differences itself.
            del differences[span]
    return list(differences.values())


def _in_force(config: RunConfig) -> dict[str, Any]:
    """Dotted keys to values, where a default that stands for another key's value is replaced by that value."""
    flat = _flatten(json.loads(config.model_dump_json()))
    flat["evaluate.max_tokens"] = config.evaluate.max_tokens or config.rollout.max_tokens
    scheduled = config.train.schedule != "constant"
    # A label that says no more than the name changes nothing.
    for grader in flat["reward.graders"]:
        if grader["label"] in (None, grader["name"]):
            del grader["label"]
    flat["train.schedule_steps"] = config.total_steps if scheduled else None
    flat["train.min_learning_rate"] = config.train.min_learning_rate if scheduled else None
    return flat


def _apply(tree: dict[str, Any], word: str) -> None:
    key, equals, raw = word.partition("=")
    if not equals or not key:
        raise InputError(f"{word!r} is not key=value; write for example train.learning_rate=2e-4")
    value = _value(raw)
    node = tree
    *parents, leaf = key.split(".")
    for depth, parent in enumerate(parents, start=1):
        inner = node.get(parent)
        if not isinstance(inner, dict):
            expanded = _expand(parents[:depth], inner)
            if expanded is None:
                raise InputError(f"{key}: {'.'.join(parents[:depth])} is not a section")
            inner = node[parent] = expanded
        node = inner
    # A section given by its short form replaces that one value and leaves the section's other keys alone.
    if isinstance(node.get(leaf), dict) and (expanded := _expand([*parents, leaf], value)):
        node[leaf] = {**node[leaf], **expanded}
    else:
        node[leaf] = value


def _value(raw: str) -> Any:
    """A number, a word, `[...]`, `{...}` or quoted text as YAML; anything else is text to the letter."""
    try:
        value = load_yaml(raw)
    except yaml.YAMLError:
        return raw
    quoted_or_nested = raw.lstrip().startswith(("'", '"', "[", "{"))
    return raw if isinstance(value, str | dict | list) and not quoted_or_nested else value


def _expand(path: Sequence[str], value: Any) -> dict[str, Any] | None:
    """A section left out or given by its short form, written out; None where that is not what stands there."""
    if value is None:
        return {}
    section: type[Section] = RunConfig
    for name in path:
        field = section.model_fields.get(name)
        annotation = field.annotation if field else None
        kinds = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
        if inner is None:
            return None
        section = inner
    return None if section.shorthand is None or isinstance(value, dict) else {section.shorthand: value}


def _nearest(path: tuple[int | str, ...]) -> list[str]:
    dotted = ".".join(part for part in path if isinstance(part, str))
    known = known_keys() if "." in dotted else [*RunConfig.model_fields, *known_keys()]
    near = difflib.get_close_matches(dotted, known, n=1, cutoff=0.75)
    if near:
        return near
    same_name = [key for key in known_keys() if key.rsplit(".", 1)[-1] == str(path[-1])]
    return same_name[:1]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _under(key: str, wanted: Iterable[str]) -> bool:
    return any(key == w or key.startswith(f"{w}.") for w in wanted)
