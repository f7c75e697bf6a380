"""What every section of the configuration is made of."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

StageName = Literal["prepare", "rollout", "reward", "train", "publish"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Affects:
    """Names the stages whose outputs depend on an option; stands in the option's `Annotated` type."""

    stages: tuple[StageName, ...]


def affects(*stages: StageName) -> Affects:
    """Mark an option, or a whole section: `seed: Annotated[int, affects("prepare", "train")] = 0`.

    `affects()` marks an option that may change between two starts of a run without invalidating what is committed:
    speed, memory, limits on what is tolerated.
    """
    return Affects(stages)


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown keys.

    A section with a `shorthand` may be written as that one value: `store: s3://bucket/runs` means
    `store: {uri: s3://bucket/runs}`. A section left empty has its defaults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)
    shorthand: ClassVar[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, value: Any) -> Any:
        if value is None:
            return {}
        if cls.shorthand is not None and not isinstance(value, dict | BaseModel):
            return {cls.shorthand: value}
        return value
