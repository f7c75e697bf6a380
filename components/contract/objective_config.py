"""Configuration of the objectives: a section for each, discriminated by `name`."""

import re
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from components.contract.section import Positive, Section

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

Baseline = Literal["weighted", "self_normalised", "mean", "leave_one_out"]
Normalisation = Literal["sum", "sequence", "token", "constant"]

_Truncation = Annotated[Positive | Literal["off"], Field(description="bound C on importance weights, or off")]
_Clip = Annotated[Positive, Field(description="epsilon below 1 of the clipped ratio")]
_ClipHigh = Annotated[Positive, Field(description="epsilon above 1; as clip where only that is given")]
_Baseline = Annotated[Baseline, Field(description="what is subtracted from a reward")]


class ObjectiveOptions(Section):
    """The options of one objective, with the values of its paper or, where that gives none, of its reference code.

    Formulas are in `components/train/objectives.py`. A null option has its default; options that the objective does
    not have are refused.
    """

    shorthand = "name"
    clones: ClassVar[bool] = False
    """True if the objective only clones verified completions."""

    name: str
    normalisation: Normalisation = Field(
        default="sum",
        description="of the loss: sum over a sequence's tokens, mean per sequence, mean over all tokens, or sum "
        "divided by rollout.max_tokens; then mean over sequences",
    )

    @model_validator(mode="before")
    @classmethod
    def _only_own_options(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for key in value:
            if key not in cls.model_fields:
                own = ", ".join(field for field in cls.model_fields if field != "name")
                raise ValueError(f"the objective {value.get('name')} has no {key}; it has {own}")
        return {key: option for key, option in value.items() if option is not None}


class TruncatedOptions(ObjectiveOptions):
    """Objectives with a bound on importance weights."""

    truncation: _Truncation = 2.0

    @property
    def bound(self) -> float | None:
        """C; None where weights are not truncated."""
        return None if self.truncation == "off" else self.truncation


class ClippedOptions(ObjectiveOptions):
    """Objectives with a clipped surrogate."""

    clip: _Clip = 0.2
    clip_high: _ClipHigh = 0.2
    normalisation: Normalisation = "sequence"

    @model_validator(mode="before")
    @classmethod
    def _clip_high_follows_clip(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("clip") is not None and value.get("clip_high") is None:
            return {**value, "clip_high": value["clip"]}
        return value


class RapidOptions(TruncatedOptions):
    name: Literal["rapid"] = "rapid"
    ratio: Literal["sequence", "token"] = Field(
        default="sequence", description="what is weighted; sequence: the product of the token ratios"
    )
    baseline: _Baseline = "weighted"


class RapidClipOptions(ClippedOptions, TruncatedOptions):
    name: Literal["rapid_clip"] = "rapid_clip"
    ratio: Literal["sequence", "token"] = Field(
        default="token", description="what is clipped; sequence: the geometric mean of the token ratios, as in GSPO"
    )
    baseline: _Baseline = "weighted"


class PgOptions(ObjectiveOptions):
    name: Literal["pg"] = "pg"


class RlooOptions(ObjectiveOptions):
    name: Literal["rloo"] = "rloo"


class GrpoOptions(ClippedOptions):
    name: Literal["grpo"] = "grpo"


class DrGrpoOptions(ClippedOptions):
    name: Literal["dr_grpo"] = "dr_grpo"
    normalisation: Normalisation = "constant"


class DapoOptions(ClippedOptions):
    name: Literal["dapo"] = "dapo"
    clip_high: _ClipHigh = 0.28
    normalisation: Normalisation = "token"


class GspoOptions(ClippedOptions):
    name: Literal["gspo"] = "gspo"
    clip: _Clip = 3e-4
    clip_high: _ClipHigh = 4e-4


class CispoOptions(TruncatedOptions):
    name: Literal["cispo"] = "cispo"
    truncation: _Truncation = 5.0
    normalisation: Normalisation = "token"


class ToprOptions(ObjectiveOptions):
    name: Literal["topr"] = "topr"


class TokenIsOptions(TruncatedOptions):
    name: Literal["token_is"] = "token_is"
    normalisation: Normalisation = "token"


class SftOptions(ObjectiveOptions):
    clones = True
    name: Literal["sft"] = "sft"
    normalisation: Normalisation = "token"


class CustomOptions(Section):
    """An objective of your own: an `Objective` of `components/train/objectives.py` in a module of yours."""

    shorthand = "name"
    clones: ClassVar[bool] = False
    name: str = Field(description="package.module:name")
    options: dict[str, Any] = Field(default_factory=dict, description="of its advantage and surrogate")

    @field_validator("name")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if not _PATH.fullmatch(value):
            raise ValueError(
                f"there is no such objective; built in are {', '.join(OBJECTIVE_OPTIONS)}, and one of your own is "
                "written package.module:name"
            )
        return value


BuiltInObjective = (
    RapidOptions
    | RapidClipOptions
    | PgOptions
    | RlooOptions
    | GrpoOptions
    | DrGrpoOptions
    | DapoOptions
    | GspoOptions
    | CispoOptions
    | ToprOptions
    | TokenIsOptions
    | SftOptions
)
OBJECTIVE_OPTIONS: dict[str, type[ObjectiveOptions]] = {
    options.model_fields["name"].default: options for options in get_args(BuiltInObjective)
}


def _select(value: Any) -> Any:
    """Validate an objective's options with the section that its name selects.

    By hand, because pydantic's discriminated unions put the tag into the path of every error.
    """
    if isinstance(value, Section):
        return value
    options = value if isinstance(value, dict) else {"name": value or "rapid"}
    name = options.get("name") or "rapid"
    section = OBJECTIVE_OPTIONS.get(name, CustomOptions) if isinstance(name, str) else CustomOptions
    return section.model_validate({**options, "name": name})


ObjectiveSection = Annotated[BuiltInObjective | CustomOptions, BeforeValidator(_select)]
