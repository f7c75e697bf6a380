"""Load a configuration: a YAML file, `key=value` overrides, validation."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.section import Section, section_of
from components.contract.version import CONTRACT_VERSION, require_version
from components.contract.yaml_text import load_yaml


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a YAML configuration and apply overrides, each `dotted.key=value`.

    Raises:
        InputError: the file is missing or not YAML, an override is not `key=value`, a key is unknown or its value
            invalid.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"configuration {path.absolute()} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the configuration {path}: {error}") from None
    return parse_config(text, overrides, what=str(path))


def parse_config(text: str, overrides: Iterable[str] = (), what: str = "configuration") -> RunConfig:
    """Parse YAML (or JSON) text with overrides; errors as in `load_config`."""
    tree = load_yaml(text, what)
    if not isinstance(tree, dict):
        raise InputError(f"{what} must be a mapping with sections such as run, model and data")
    if "version" in tree:
        require_version(tree.pop("version"), what)
    for word in overrides:
        _apply(tree, word)
    return RunConfig.parse(tree, what)


def config_json(config: RunConfig) -> str:
    """Write a configuration as runs and pipelines store it."""
    tree = {"version": CONTRACT_VERSION, **config.model_dump(mode="json")}
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def stored_config(text: str, where: str) -> RunConfig:
    """Parse a run's `config.json`.

    Raises:
        InputError: another version wrote it, or it is damaged.
    """
    tree = load_yaml(text, where)
    if isinstance(tree, dict):
        require_version(tree.get("version", 1), where)
    return parse_config(text, what=where)


def parameter_overrides(model: str, data: str, iterations: int) -> list[str]:
    """Return the overrides that a pipeline's run-time parameters stand for; empty and negative ones are unset."""
    given = {"model.path": model, "data.train": data}
    # Quoted, because a directory called 2026 has a name and not a number.
    words = [f"{key}={json.dumps(value)}" for key, value in given.items() if value]
    return [*words, f"loop.iterations={iterations}"] if iterations >= 0 else words


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"{override!r} is not key=value; write for example train.learning_rate=2e-4")
    if not raw.strip():
        # `store=$STORE` with a variable that is not set must not mean the default.
        raise InputError(
            f"{key}= has no value: is a variable not set? Leave it out for the default, or write {key}=null for none"
        )
    value = _value(raw)
    node = tree
    *parents, leaf = key.split(".")
    for depth, parent in enumerate(parents, start=1):
        inner = node.get(parent)
        if not isinstance(inner, dict):
            expanded = _expand(parents[:depth], inner)
            if expanded is None:
                raise InputError(f"{key} is not an option: {'.'.join(parents[:depth])} is not a section")
            inner = node[parent] = expanded
        node = inner
    # The short form of a section replaces that one value and keeps the section's other options.
    if isinstance(node.get(leaf), dict) and (expanded := _expand([*parents, leaf], value)):
        node[leaf] = {**node[leaf], **expanded}
    else:
        node[leaf] = value


def _value(raw: str) -> Any:
    """Parse a number, a word, `[...]`, `{...}` or quoted text as YAML; anything else is literal text."""
    try:
        value = load_yaml(raw, raw)
    except InputError:
        return raw
    quoted_or_nested = raw.lstrip().startswith(("'", '"', "[", "{"))
    return raw if isinstance(value, str | dict | list) and not quoted_or_nested else value


def _expand(path: Sequence[str], value: Any) -> dict[str, Any] | None:
    """Write out a section that is missing or in its short form; None if `value` is neither."""
    if value is None:
        return {}
    section: type[Section] = RunConfig
    for name in path:
        field = section.model_fields.get(name)
        inner = section_of(field.annotation) if field else None
        if inner is None:
            return None
        section = inner
    return None if section.shorthand is None or isinstance(value, dict) else {section.shorthand: value}
