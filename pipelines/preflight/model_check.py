"""The checks of the base policy and the guide, which are neither loaded nor downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.model_reference import ModelReference, is_model_reference
from components.prepare.adapters import check_adapters
from components.prepare.policy import BasePolicy, inspect_policy, is_hub_name, json_object, sizes_of
from components.prepare.policy_source import is_elsewhere
from components.store.files import is_directory, reading
from pipelines.estimates.model_shape import ModelShape
from pipelines.preflight.findings import Finding, check_pod_path
from pipelines.preflight.machine_check import package_version

if TYPE_CHECKING:
    from pipelines.cluster.cluster_config import ClusterConfig

_KEY, _GUIDE = "model.path", "train.guide.model"
_CONFIG = "config.json"
_HUB_TIMEOUT = 5.0


@dataclass(frozen=True)
class ModelCheck:
    """Findings on a model's files and sizes, and what was read of them.

    Attributes:
        shape: None if config.json is not available or its architecture has no formulas.
        policy: the model's files, which prepare would copy into the run; None if they are not on this machine.
        tokenizer: directory of the tokenizer; None if it is not on this machine.
    """

    findings: list[Finding]
    shape: ModelShape | None = None
    policy: BasePolicy | None = None
    tokenizer: Path | None = None

    @property
    def bytes(self) -> int | None:
        """Size of the model's files; None if they are not on this machine."""
        if self.policy is None:
            return None
        return sum((self.policy.directory / name).stat().st_size for name in self.policy.files)

    @property
    def size(self) -> int:
        """The size of its files, or of its parameters in 16 bits if they are not here; 0 if nothing is known."""
        return self.bytes or (2 * self.shape.parameters if self.shape else 0)


def check_model(config: RunConfig, cluster: "ClusterConfig | None") -> ModelCheck:
    """Check `model.path`.

    A directory on this machine is checked as prepare checks it. For a name on the hub, config.json is read from the
    hub's cache or from the hub. For a cluster, only whether pods can reach the path is checked.
    """
    check = _check(_Named(_KEY, config.model.path, config.model.revision), config, cluster)
    if check.policy is None:
        return check
    try:
        check_adapters(check.policy, config.train.lora)
    except InputError as error:
        return replace(check, findings=[Finding.error(_KEY, str(error)), *check.findings[1:]], policy=None)
    return check


def check_guide(config: RunConfig, cluster: "ClusterConfig | None") -> ModelCheck | None:
    """Check `train.guide.model` like the policy; prepare compares their vocabularies. None where there is none."""
    guide = config.train.guide
    if guide is None or guide.model is None:
        return None
    return _check(_Named(_GUIDE, guide.model, guide.revision), config, cluster)


@dataclass(frozen=True)
class _Named:
    """A model that an option names."""

    key: str
    path: str
    revision: str | None


def _check(model: _Named, config: RunConfig, cluster: "ClusterConfig | None") -> ModelCheck:
    if cluster is not None:
        return ModelCheck([_check_for_pods(model.path, model.key)])
    if is_elsewhere(model.path):
        return ModelCheck(
            [
                Finding.ok(model.key, f"{model.path}, fetched by prepare"),
                _no_sizes(model.key, "its config.json is not on this machine"),
            ]
        )
    directory = Path(model.path).expanduser()
    try:
        if is_directory(directory):
            return _check_directory(model.key, config, directory)
    except InputError as error:
        return ModelCheck([Finding.error(model.key, str(error))])
    if not is_hub_name(model.path):
        return ModelCheck([_no_directory(model.key, directory)])
    return _check_hub_name(model, config)


def _no_directory(key: str, path: Path) -> Finding:
    return Finding.error(key, f"{path.absolute()} is not a directory", "give a Hugging Face directory")


def _check_for_pods(path: str, key: str) -> Finding:
    if is_model_reference(path):
        try:
            ModelReference.parse(path)
        except InputError as error:
            return Finding.error(key, str(error))
    elif not path.startswith("s3://") and (not is_hub_name(path) or is_directory(Path(path))):
        return check_pod_path(key, path, "a hub name, s3://bucket/model or models:/NAME@champion")
    return Finding.ok(key, f"{path}, fetched by prepare")


def _check_directory(key: str, config: RunConfig, directory: Path) -> ModelCheck:
    shape, findings = _read_shape(key, directory)
    if not package_version("safetensors"):
        return ModelCheck([Finding.ok(key, str(directory.absolute())), *findings], shape)
    try:
        policy = inspect_policy(directory, config.model.max_length)
    except InputError as error:
        return ModelCheck([Finding.error(key, str(error)), *findings], shape)
    result = f"{directory.absolute()}: {policy.parameters / 1e6:,.1f} million parameters in {policy.dtype}"
    return ModelCheck([Finding.ok(key, result), *findings], shape, policy, directory)


def _check_hub_name(model: _Named, config: RunConfig) -> ModelCheck:
    cached = _cached_directory(model)
    findings = [Finding.warning(model.key, f"{model.path} is taken as a hub name, which prepare downloads")]
    shape = None
    try:
        if cached:
            shape, unread = _read_shape(model.key, cached)
            findings += unread
        else:
            shape = ModelShape.of(_parse(_fetch_config(model), model.path), model.path)
    except InputError as error:
        findings.append(_no_sizes(model.key, str(error)))
    if shape and shape.positions is not None and config.model.max_length > shape.positions:
        result = f"{config.model.max_length}, but {model.path} has {shape.positions} positions"
        findings.append(Finding.error("model.max_length", result, "lower it"))
    return ModelCheck(findings, shape, tokenizer=cached if cached and _has_tokenizer(cached) else None)


def _read_shape(key: str, directory: Path) -> tuple[ModelShape | None, list[Finding]]:
    """Return the sizes in a directory's config.json; or None, with the finding that says why."""
    try:
        with reading(directory / _CONFIG):
            text = (directory / _CONFIG).read_text(encoding="utf-8", errors="replace")
        return ModelShape.of(_parse(text, str(directory / _CONFIG)), str(directory / _CONFIG)), []
    except InputError as error:
        return None, [_no_sizes(key, str(error))]


def _parse(text: str, where: str) -> Mapping[str, Any]:
    return sizes_of(json_object(text, where), where)


def _no_sizes(key: str, reason: str) -> Finding:
    if key == _GUIDE:
        return Finding.warning("guide sizes", f"{reason}; its memory and storage are not estimated")
    return Finding.warning("model sizes", f"{reason}; memory and storage are not estimated")


def _cached_directory(model: _Named) -> Path | None:
    """Return the model's directory in the hub's cache, which may lack files."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    cached = try_to_load_from_cache(model.path, _CONFIG, revision=model.revision)
    return Path(cached).parent if isinstance(cached, str) else None


def _has_tokenizer(directory: Path) -> bool:
    return any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))


def _fetch_config(model: _Named) -> str:
    """Return config.json from the hub without storing it. Raises InputError if the hub does not provide it."""
    try:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.constants import is_offline_mode
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status
    except ImportError:
        raise InputError(f"{_CONFIG} of {model.path} cannot be read: huggingface_hub is not installed") from None
    if is_offline_mode():
        raise InputError(f"{_CONFIG} of {model.path} is not in the hub's cache, and HF_HUB_OFFLINE is set")
    url = hf_hub_url(model.path, _CONFIG, revision=model.revision)
    try:
        reply = get_session().get(url, headers=build_hf_headers(), timeout=_HUB_TIMEOUT, follow_redirects=True)
        hf_raise_for_status(reply)
    except Exception as error:  # of whichever HTTP client the hub's library uses
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{_CONFIG} of {model.path} cannot be read: {reason}") from None
    return reply.text
