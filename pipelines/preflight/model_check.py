"""The checks of the base policy and the guide, which are neither loaded nor downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contract.config import ModelSection, RunConfig
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
    """Findings on the base policy's files and sizes, and what was read of them.

    Attributes:
        shape: None if config.json is not available or its architecture has no formulas.
        policy: the files that prepare would copy into the run; None if they are not on this machine.
        tokenizer: directory of the tokenizer; None if it is not on this machine.
    """

    findings: list[Finding]
    shape: ModelShape | None = None
    policy: BasePolicy | None = None
    tokenizer: Path | None = None

    @property
    def bytes(self) -> int | None:
        """Size of the policy's files; None if they are not on this machine."""
        if self.policy is None:
            return None
        return sum((self.policy.directory / name).stat().st_size for name in self.policy.files)


def check_model(config: RunConfig, cluster: "ClusterConfig | None") -> ModelCheck:
    """Check `model.path`.

    A directory on this machine is checked as prepare checks it. For a name on the hub, config.json is read from the
    hub's cache or from the hub. For a cluster, only whether pods can reach the path is checked.
    """
    path = config.model.path
    if cluster is not None:
        return ModelCheck([_check_for_pods(path, _KEY)])
    if is_elsewhere(path):
        return ModelCheck(
            [Finding.ok(_KEY, f"{path}, fetched by prepare"), _no_sizes("its config.json is not on this machine")]
        )
    directory = Path(path).expanduser()
    try:
        if is_directory(directory):
            return _check_directory(config, directory)
    except InputError as error:
        return ModelCheck([Finding.error(_KEY, str(error))])
    if not is_hub_name(path):
        return ModelCheck([_no_directory(_KEY, directory)])
    return _check_hub_name(config)


def check_guide(config: RunConfig, cluster: "ClusterConfig | None") -> list[Finding]:
    """Check `train.guide.model`, whose vocabulary prepare compares with the policy's."""
    path = config.train.guide.model if config.train.guide else None
    if path is None:
        return []
    if cluster is not None:
        return [_check_for_pods(path, _GUIDE)]
    directory = Path(path).expanduser()
    try:
        if is_elsewhere(path) or (not is_directory(directory) and is_hub_name(path)):
            return [Finding.ok(_GUIDE, f"{path}, fetched by prepare")]
        if not is_directory(directory):
            return [_no_directory(_GUIDE, directory)]
        if package_version("safetensors"):
            inspect_policy(directory, config.model.max_length)
    except InputError as error:
        return [Finding.error(_GUIDE, str(error))]
    return [Finding.ok(_GUIDE, str(directory.absolute()))]


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


def _check_directory(config: RunConfig, directory: Path) -> ModelCheck:
    shape, findings = _read_shape(directory)
    if not package_version("safetensors"):
        return ModelCheck([Finding.ok(_KEY, str(directory.absolute())), *findings], shape)
    try:
        policy = inspect_policy(directory, config.model.max_length)
        check_adapters(policy, config.train.lora)
    except InputError as error:
        return ModelCheck([Finding.error(_KEY, str(error)), *findings], shape)
    result = f"{directory.absolute()}: {policy.parameters / 1e6:,.1f} million parameters in {policy.dtype}"
    return ModelCheck([Finding.ok(_KEY, result), *findings], shape, policy, directory)


def _check_hub_name(config: RunConfig) -> ModelCheck:
    cached = _cached_directory(config.model)
    findings = [Finding.warning(_KEY, f"{config.model.path} is taken as a hub name, which prepare downloads")]
    shape = None
    try:
        if cached:
            shape, unread = _read_shape(cached)
            findings += unread
        else:
            shape = ModelShape.of(_parse(_fetch_config(config.model), config.model.path), config.model.path)
    except InputError as error:
        findings.append(_no_sizes(str(error)))
    if shape and shape.positions is not None and config.model.max_length > shape.positions:
        result = f"{config.model.max_length}, but {config.model.path} has {shape.positions} positions"
        findings.append(Finding.error("model.max_length", result, "lower it"))
    return ModelCheck(findings, shape, tokenizer=cached if cached and _has_tokenizer(cached) else None)


def _read_shape(directory: Path) -> tuple[ModelShape | None, list[Finding]]:
    """Return the sizes in a directory's config.json; or None, with the finding that says why."""
    try:
        with reading(directory / _CONFIG):
            text = (directory / _CONFIG).read_text(encoding="utf-8", errors="replace")
        return ModelShape.of(_parse(text, str(directory / _CONFIG)), str(directory / _CONFIG)), []
    except InputError as error:
        return None, [_no_sizes(str(error))]


def _parse(text: str, where: str) -> Mapping[str, Any]:
    return sizes_of(json_object(text, where), where)


def _no_sizes(reason: str) -> Finding:
    return Finding.warning("model sizes", f"{reason}; memory and storage are not estimated")


def _cached_directory(model: ModelSection) -> Path | None:
    """Return the model's directory in the hub's cache, which may lack files."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    cached = try_to_load_from_cache(model.path, _CONFIG, revision=model.revision)
    return Path(cached).parent if isinstance(cached, str) else None


def _has_tokenizer(directory: Path) -> bool:
    return any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))


def _fetch_config(model: ModelSection) -> str:
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
