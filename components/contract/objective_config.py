"""Configuration of the objectives: a section for each, discriminated by `name`."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from components.contract.section import Positive, Section

LOCATION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""`package.module:name`, of a custom objective or grader."""

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
                raise ValueError(f"objective {value.get('name')} has no option {key}; its options are {own}")
        return {key: option for key, option in value.items() if option is not None}


class TruncatedOptions(ObjectiveOptions):
    """Objectives with a bound on importance weights."""

    truncation: _Truncation = 2.0


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
    name: Literal["sft"] = "sft"
    normalisation: Normalisation = "token"


class CustomOptions(Section):
    """A custom objective: an `Objective` of `components/train/objectives.py` in the user's module."""

    shorthand = "name"
    name: str = Field(description="package.module:name")
    options: dict[str, Any] = Field(default_factory=dict, description="of its advantage and surrogate")

    @model_validator(mode="before")
    @classmethod
    def _options_are_nested(cls, value: Any) -> Any:
        if isinstance(value, dict) and ":" in str(value.get("name")) and not value.keys() <= cls.model_fields.keys():
            raise ValueError("options of a custom objective go under train.objective.options")
        return value

    @field_validator("name")
    @classmethod
    def _is_a_location(cls, value: str) -> str:
        if not LOCATION.fullmatch(value):
            built_in = ", ".join(OBJECTIVE_OPTIONS)
            raise ValueError(f"is not a valid objective; use one of {built_in}, or package.module:name for your own")
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
