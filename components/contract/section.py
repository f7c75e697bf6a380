"""Building blocks of the configuration: sections, common types of options, and the stages that an option affects."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from components.contract.credentials import has_user
from components.contract.errors import explain_validation

StageName = Literal["prepare", "rollout", "reward", "train", "publish"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


def _without_user(location: str) -> str:
    if not location.strip():
        raise PydanticCustomError("string_too_short", "must not be empty")
    if has_user(location):
        raise PydanticCustomError(
            "credentials",
            "must not contain a user name or password; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
            "environment",
        )
    return location


Location = Annotated[str, AfterValidator(_without_user)]


@dataclass(frozen=True)
class Affects:
    """The stages whose outputs depend on an option; stands in the option's `Annotated` type."""

    stages: tuple[StageName, ...]


def affects(*stages: StageName) -> Affects:
    """Mark an option, or a whole section, with the stages whose outputs depend on it.

    Written `seed: Annotated[int, affects("prepare", "train")] = 0`. Without stages it marks an option that may change
    between two starts of a run without invalidating committed outputs: speed, memory, tolerated errors. Data files are
    marked so too: their content is an input that manifests name.
    """
    return Affects(stages)


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown keys.

    A section with a `shorthand` may be written as that one value: `store: s3://bucket/runs` means
    `store: {uri: s3://bucket/runs}`. An empty section has its defaults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)
    shorthand: ClassVar[str | None] = None

    @classmethod
    def parse(cls, tree: Any, what: str) -> Self:
        """Validate a mapping.

        Raises:
            InputError: a key is unknown or its value invalid; the message begins with `what`.
        """
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise explain_validation(error, what, known_keys(cls)) from None

    @field_validator("*", mode="before")
    @classmethod
    def _is_what_it_seems(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic would take for a number or a file system for the end of a name."""
        kinds = _union_members(cls.model_fields[str(info.field_name)].annotation)
        for kind in [kind for kind in kinds if get_origin(kind) is tuple and isinstance(value, list | tuple)]:
            for item in value:
                _check_scalar(item, {_bare(member) for member in get_args(kind)})
        _check_scalar(value, {*kinds})
        return value

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, value: Any) -> Any:
        if value is None:
            return {}
        if cls.shorthand is not None and not isinstance(value, dict | BaseModel):
            return {cls.shorthand: value}
        return value


def _check_scalar(value: Any, kinds: set[Any]) -> None:
    if isinstance(value, bool) and bool not in kinds and {int, float}.intersection(kinds):
        raise ValueError("must be a number")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("must not contain a NUL character")


def _bare(annotation: Any) -> Any:
    """Return the type within `Annotated`."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def known_keys(section: type[Section], prefix: str = "") -> list[str]:
    """List the dotted keys of all options: leaves, and below a list or an optional section the keys of its items."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        if not all(_is_section(kind) for kind in _union_members(field.annotation)):
            keys.append(prefix + name)
        for inner in _sections_in(field.annotation):
            keys += known_keys(inner, f"{prefix}{name}.")
    return list(dict.fromkeys(keys))


def affected_stages(section: type[Section], prefix: str = "") -> dict[str, tuple[StageName, ...]]:
    """Map the dotted key of each option, or of each section marked as a whole, to the stages it affects.

    Raises:
        TypeError: an option has no `affects`.
    """
    found: dict[str, tuple[StageName, ...]] = {}
    for name, field in section.model_fields.items():
        key = prefix + name
        marks = [mark for mark in field.metadata if isinstance(mark, Affects)]
        inner = list(_sections_in(field.annotation))
        if marks:
            found[key] = marks[0].stages
        elif inner:
            for part in inner:
                found |= affected_stages(part, f"{key}.")
        else:
            raise TypeError(f"{key} has no affects(...): name the stages whose outputs depend on it")
    return found


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section that a field may hold, the first of a union; None for other fields and for lists."""
    return next((kind for kind in _union_members(annotation) if _is_section(kind)), None)


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    """Yield the sections of a field's type, those in unions and lists included."""
    if _is_section(annotation):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _sections_in(part)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _union_members(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)
