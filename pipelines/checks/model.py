"""What the base policy is, without loading or downloading it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.checks.findings import Finding, Level
from pipelines.estimates.shape import ModelShape

from components.contract.config import ModelSection, RunConfig
from components.contract.errors import InputError
from components.prepare.policy import BasePolicy, inspect_policy, sizes_of
from components.prepare.policy_source import is_elsewhere
from components.store.files import reading
from pipelines.checks.configuration import check_model_path

CONFIG = "config.json"
_SECONDS = 5.0


@dataclass(frozen=True)
class Model:
    """Attributes:
    findings: on its files and its sizes.
    shape: None where config.json cannot be had or has no formulas.
    policy: what prepare would bring into the run; None where it is not on this machine.
    tokenizer: directory with the model's tokenizer; None where that is not on this machine.
    """

    findings: list[Finding]
    shape: ModelShape | None = None
    policy: BasePolicy | None = None
    tokenizer: Path | None = None

    @property
    def bytes(self) -> int | None:
        """Of the policy's files; None where they are not here."""
        if self.policy is None:
            return None
        return sum((self.policy.directory / name).stat().st_size for name in self.policy.files)


def inspect_model(config: RunConfig) -> Model:
    """Check a local directory as prepare does; of a hub name read config.json, from the hub's cache or the hub."""
    path = check_model_path(config)
    directory = Path(config.model.path).expanduser()
    if path.level is Level.wrong:
        return Model([path])
    if is_elsewhere(config.model.path):
        return Model([path, _no_sizes(InputError("its config.json is not on this machine"))])
    if path.level is Level.warning:
        return _from_hub(config, path)
    try:
        policy = inspect_policy(directory, config.model.max_length)
    except InputError as error:
        shape, notes = _shape(directory)
        return Model([Finding(Level.wrong, path.what, str(error)), *notes], shape)
    shape, notes = _shape(directory)
    found = f"{path.found}: {policy.parameters / 1e6:,.1f} million parameters in {policy.dtype}"
    return Model([Finding(Level.ok, path.what, found), *notes], shape, policy, directory)


def _shape(directory: Path) -> tuple[ModelShape | None, list[Finding]]:
    try:
        with reading(directory / CONFIG):
            text = (directory / CONFIG).read_text(encoding="utf-8", errors="replace")
        return ModelShape.of(_parsed(text, str(directory / CONFIG)), str(directory / CONFIG)), []
    except InputError as error:
        return None, [_no_sizes(error)]


def _parsed(text: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{where} is not a JSON object")
    return sizes_of(value, where)


def _from_hub(config: RunConfig, path: Finding) -> Model:
    cached = _cached(config.model)
    try:
        if cached:
            shape, notes = _shape(cached)
        else:
            shape, notes = ModelShape.of(_parsed(_fetched(config.model), config.model.path), config.model.path), []
    except InputError as error:
        shape, notes = None, [_no_sizes(error)]
    tokenizer = cached if cached and _has_tokenizer(cached) else None
    return Model([path, *notes, *_length(config, shape)], shape, tokenizer=tokenizer)


def _no_sizes(error: InputError) -> Finding:
    return Finding(Level.warning, "model sizes", str(error), "memory and storage are not estimated")


def _length(config: RunConfig, shape: ModelShape | None) -> list[Finding]:
    if shape is None or shape.positions is None or config.model.max_length <= shape.positions:
        return []
    found = f"{config.model.max_length}, and {config.model.path} has {shape.positions} positions"
    return [Finding(Level.wrong, "model.max_length", found, "lower it")]


def _cached(model: ModelSection) -> Path | None:
    """The model's directory in the hub's cache, whole or not."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(model.path, CONFIG, revision=model.revision)
    return Path(found).parent if isinstance(found, str) else None


def _has_tokenizer(directory: Path) -> bool:
    return any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))


def _fetched(model: ModelSection) -> str:
    """config.json from the hub, not kept. Raises InputError where the hub does not give it."""
    try:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.constants import is_offline_mode
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status
    except ImportError:
        raise InputError(f"{CONFIG} of {model.path} cannot be read: huggingface_hub is not installed") from None
    if is_offline_mode():
        raise InputError(f"{CONFIG} of {model.path} is not in the hub's cache, and HF_HUB_OFFLINE is set")
    url = hf_hub_url(model.path, CONFIG, revision=model.revision)
    try:
        reply = get_session().get(url, headers=build_hf_headers(), timeout=_SECONDS, follow_redirects=True)
        hf_raise_for_status(reply)
    except Exception as error:  # of whichever HTTP client the hub's library has
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{CONFIG} of {model.path} cannot be read: {reason}") from None
    return reply.text
