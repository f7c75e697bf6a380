"""The base policy: where it comes from, and whether it can be used."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.contract.digests import file_digest
from components.contract.errors import InputError
from components.contract.manifest import Output, policy_digests
from components.prepare.contents import POINTER_BYTES, pointer_reason
from components.store.files import is_directory, reading

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "*.tiktoken")
_OTHER = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.*",
    "additional_chat_templates/*",
)
POLICY_FILES = ("model*.safetensors", INDEX, *_TOKENIZER, *_OTHER)
"""Patterns of the names that a policy's directory is made of."""
CARD = "README.md"
"""A model's card on the hub, of which prepare reads the licence."""
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True)
class BasePolicy:
    """A usable model directory; `files` are the names in it that belong to the policy."""

    directory: Path
    files: tuple[str, ...]
    model_type: str
    vocab_size: int
    parameters: int
    dtype: str
    matrices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of the weights with two dimensions, by the name of their module."""

    def tokenizer_digest(self) -> str:
        """Return the digest of the tokenizer's files, as the manifest of the committed policy names it."""
        names = [name for name in self.files if not name.endswith(".safetensors")]
        files = [Output(path=name, size=0, sha256=file_digest(self.directory / name)) for name in names]
        return policy_digests(files)["tokenizer_digest"]

    def check_tokenizer(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Check that there is an end-of-sequence token, and that it has an embedding.

        Other ids beyond the embeddings (an image token of a model for text, a padding token) are refused in the prompts
        that contain them. The model may have more embeddings than the tokenizer has tokens: vocabularies are padded.

        Raises:
            InputError: the tokenizer does not fit the model.
        """
        if tokenizer.eos_token_id is not None and tokenizer.eos_token_id >= self.vocab_size:
            raise InputError(
                f"the tokenizer in {self.directory} does not fit the model: its end-of-sequence token has the id "
                f"{tokenizer.eos_token_id}, and vocab_size is {self.vocab_size}"
            )
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"the tokenizer in {self.directory} does not fit the model: it has no end-of-sequence token; set "
                "eos_token in tokenizer_config.json"
            )


def is_hub_name(path: str) -> bool:
    """Return whether `model.path` can be a name on the hub: `name` or `owner/name`."""
    return _HUB_NAME.fullmatch(path) is not None


def locate_policy(path: str, key: str = "model.path", revision: str | None = None) -> Path:
    """Return a model's directory on this machine, fetched from the hub where `path` is a name there.

    Args:
        key: the option that names the path, for messages.

    Raises:
        InputError: it is neither a directory nor available from the hub.
    """
    directory = Path(path).expanduser()
    if is_directory(directory):
        return directory
    missing = f"missing model directory: {directory.absolute()} does not exist"
    if not is_hub_name(path):
        raise InputError(
            f"{missing}; {key} takes a Hugging Face directory (local or s3://), a hub name, or models:/NAME@champion"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=[*POLICY_FILES, CARD]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{missing}, and downloading {path!r} from the hub failed: {reason}") from None


def inspect_policy(directory: Path, max_length: int) -> BasePolicy:
    """Check configuration, weights and tokenizer files of a model directory without loading the model.

    Raises:
        InputError: something is missing, or the model cannot be used.
    """
    _refuse_pointers(directory)
    config = _read_json_object(directory / "config.json")
    _check_causal(config, directory)
    text_config = sizes_of(config, str(directory / "config.json"))
    vocab_size = text_config.get("vocab_size")
    if not isinstance(vocab_size, int):
        raise InputError(f"{directory / 'config.json'} has no vocab_size")
    _check_length(text_config, directory, max_length)
    weights = _weight_files(directory)
    tokenizer = _matching(directory, _TOKENIZER)
    if not tokenizer:
        raise InputError(f"there is no tokenizer in {directory}; save it there with tokenizer.save_pretrained")
    shapes, parameters, dtype = _tensors(directory, weights)
    files = {*weights, *tokenizer, *_matching(directory, _OTHER)}
    if (directory / INDEX).is_file() and WEIGHTS not in weights:
        files.add(INDEX)
    matrices = {name.removesuffix(".weight"): shape for name, shape in shapes.items() if len(shape) == 2}
    return BasePolicy(
        directory, tuple(sorted(files)), str(config["model_type"]), vocab_size, parameters, dtype, matrices
    )


def stated_licence(directory: Path) -> dict[str, str]:
    """Return what the card in a model's directory says about the licence, in the card's own keys; nothing without."""
    from huggingface_hub import ModelCard

    try:
        text = (directory / CARD).read_text(encoding="utf-8-sig")
        if not text.startswith("---"):
            return {}
        data = ModelCard(text, ignore_metadata_errors=True).data
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    stated = {key: data.get(key) for key in ("license", "license_name", "license_link")}
    return {key: value for key, value in stated.items() if isinstance(value, str)}


def sizes_of(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the part of a parsed config.json that describes the language model.

    Raises:
        InputError: that part is not an object.
    """
    described = config.get("text_config") or config
    if not isinstance(described, Mapping):
        raise InputError(f"text_config in {where} is not a JSON object")
    return described


def longest_sequence(config: Mapping[str, Any]) -> int | None:
    """Return the positions that a model has, None where its config.json names none, or stretches them by scaling."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    if isinstance(scaling, Mapping) and scaling.get("rope_type", scaling.get("type", "default")) != "default":
        return None
    longest = config.get("max_position_embeddings")
    return longest if isinstance(longest, int) else None


def load_tokenizer(directory: Path) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a policy, without running any code that comes with it.

    Raises:
        InputError: it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the libraries below raise anything from KeyError to Exception itself
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError(f"the tokenizer in {directory} cannot be read: {reason}") from None


def _refuse_pointers(directory: Path) -> None:
    for name in _matching(directory, POLICY_FILES):
        path = directory / name
        with reading(path):
            data = path.read_bytes() if path.stat().st_size <= POINTER_BYTES else b""
        if reason := pointer_reason(data):
            raise InputError(f"{path} {reason}")


def _check_causal(config: dict[str, Any], directory: Path) -> None:
    architectures = config.get("architectures")
    architectures = architectures if isinstance(architectures, list) else []
    if "model_type" not in config or not any(str(name).endswith(_CAUSAL) for name in architectures):
        named = ", ".join(map(str, architectures)) or "no architecture"
        raise InputError(f"{directory} holds no causal language model: its config.json names {named}")


def _check_length(config: Mapping[str, Any], directory: Path, max_length: int) -> None:
    longest = longest_sequence(config)
    if longest is not None and max_length > longest:
        raise InputError(
            f"model.max_length is {max_length}, but the model in {directory} has {longest} positions; lower it"
        )


def _weight_files(directory: Path) -> list[str]:
    if (directory / WEIGHTS).is_file():
        return [WEIGHTS]
    if (directory / INDEX).is_file():
        weight_map = _read_json_object(directory / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise InputError(f"{directory / INDEX} has no weight_map")
        shards = sorted({str(name) for name in weight_map.values()})
        if absent := [name for name in shards if Path(name).name != name or not (directory / name).is_file()]:
            raise InputError(f"{directory} lacks {', '.join(absent)}, which {INDEX} names")
        return shards
    if (directory / "adapter_config.json").is_file():
        raise InputError(f"{directory} holds an adapter without its model; merge it (merge_and_unload) and save that")
    if list(directory.glob("*.bin")) or list(directory.glob("*.pt")):
        raise InputError(
            f"{directory} holds weights as pickles; save them as safetensors: model.save_pretrained(...) does"
        )
    raise InputError(f"there are no weights in {directory}: neither {WEIGHTS} nor {INDEX}")


def _tensors(directory: Path, weights: list[str]) -> tuple[dict[str, tuple[int, ...]], int, str]:
    """Return shapes by name, the number of parameters and the type that most of them are stored in."""
    from safetensors import SafetensorError, safe_open

    stored: Counter[str] = Counter()
    shapes: dict[str, tuple[int, ...]] = {}
    for name in weights:
        # safetensors calls every file that it cannot open missing.
        with reading(directory / name), (directory / name).open("rb"):
            pass
        try:
            with safe_open(directory / name, framework="numpy") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - not a mapping
                    tensor = tensors.get_slice(key)
                    shapes[key] = tuple(tensor.get_shape())
                    stored[tensor.get_dtype()] += prod(shapes[key])
        except (SafetensorError, OSError) as error:
            raise InputError(f"{directory / name} is damaged: {error}") from None
    if not stored:
        raise InputError(f"the weights in {directory} hold no tensors")
    code = stored.most_common(1)[0][0]
    if code not in _DTYPES:
        raise InputError(f"the weights in {directory} are stored as {code}; dequantise them to bfloat16 or float32")
    return shapes, stored.total(), _DTYPES[code]


def _matching(directory: Path, patterns: tuple[str, ...]) -> list[str]:
    return [p.relative_to(directory).as_posix() for pattern in patterns for p in directory.glob(pattern) if p.is_file()]


def _read_json_object(path: Path) -> dict[str, Any]:
    with reading(path):
        data = path.read_bytes()
    return json_object(data, str(path))


def json_object(data: str | bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object. Raises InputError where it is none."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{where} is not a JSON object")
    return value
