"""The manifest that commits an output directory of a stage."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.contract.digests import json_digest
from components.contract.errors import explain_validation
from components.contract.layout import split_attempt
from components.contract.section import StageName
from components.contract.version import CONTRACT_VERSION, require_version

Facts = dict[str, str | int | float | bool | None]
"""Small results that readers need without opening outputs."""


class Output(BaseModel):
    """One committed file; `path` is relative to the manifest's directory and begins with the attempt that wrote it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    size: int = Field(ge=0, description="bytes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rows: int | None = None

    @property
    def name(self) -> str:
        """The path without the attempt's folder."""
        return split_attempt(self.path)[1]


class Timings(BaseModel):
    """Seconds that a stage spent, by kind of work, and what it used of its machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    started: datetime
    finished: datetime
    start: float = Field(default=0.0, ge=0, description="process start until the stage began")
    load: float = Field(default=0.0, ge=0, description="importing libraries, loading engine or policy")
    compute: float = Field(default=0.0, ge=0, description="sampling, grading or updating")
    store: float = Field(default=0.0, ge=0, description="reading and writing object storage")
    usage: dict[str, float] = Field(
        default={},
        description="use of cores, memory and GPUs while computing, named like MLflow's system metrics",
    )

    @property
    def seconds(self) -> float:
        return self.start + (self.finished - self.started).total_seconds()


class _Versioned(BaseModel):
    version: int


class Manifest(BaseModel):
    """The outputs of a stage, their inputs and timings. Written last, create-only."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: int = CONTRACT_VERSION
    stage: StageName
    run: str
    iteration: int | None = Field(default=None, description="iteration, or policy version of an evaluation")
    shard: int | None = None
    inputs: dict[str, str] = Field(description="name -> digest of what the outputs were made from")
    config_digest: str
    outputs: tuple[Output, ...]
    content: str | None = Field(
        default=None, description="digest of what identifies the content, where that is not all bytes of all files"
    )
    code_version: str
    timings: Timings
    facts: Facts = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Identity of the content, without timings: `content`, else over names and SHA-256 of files.

        Rows that are made again are the same, but may come in another order, in other parts and with other last digits.
        """
        return self.content or outputs_digest(self.outputs)

    @property
    def numbers(self) -> dict[str, float]:
        """Facts that are numbers."""
        facts = self.facts.items()
        return {key: float(v) for key, v in facts if isinstance(v, int | float) and not isinstance(v, bool)}

    @property
    def holds_policy(self) -> bool:
        """True if a policy is among the outputs; a train stage that stopped at the target commits none."""
        return any(output.path.endswith(".safetensors") for output in self.outputs)

    def to_json(self) -> bytes:
        return (self.model_dump_json(indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> "Manifest":
        """Parse a stored manifest.

        Raises:
            InputError: not a manifest, or one of another version.
        """
        try:
            # First, because the fields of another version differ.
            require_version(_Versioned.model_validate_json(data).version, where)
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise explain_validation(error, f"{where} is not a manifest of this program") from None

    def mismatch(self, inputs: Mapping[str, str], config_digest: str) -> str | None:
        """Return why the outputs do not match the given inputs and configuration; None if they do."""
        if self.config_digest != config_digest:
            return "another configuration"
        changed = [key for key in sorted(inputs.keys() | self.inputs.keys()) if inputs.get(key) != self.inputs.get(key)]
        return f"other inputs ({', '.join(changed)})" if changed else None


def outputs_digest(outputs: Iterable[Output]) -> str:
    return json_digest(sorted((o.name, o.sha256) for o in outputs))


def now() -> datetime:
    return datetime.now(UTC)


_TOKENIZER_PARTS = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "chat_template", "spiece")


def policy_digests(outputs: Iterable[Output]) -> dict[str, str]:
    """Return `weights_digest` and `tokenizer_digest` of a policy's files."""
    files = list(outputs)
    weights = tuple(o for o in files if o.path.endswith(".safetensors"))
    tokenizer = tuple(o for o in files if o.name.startswith(_TOKENIZER_PARTS))
    return {"weights_digest": outputs_digest(weights), "tokenizer_digest": outputs_digest(tokenizer)}
