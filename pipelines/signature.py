"""Pipeline functions whose parameters are known only at compile time."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_NONE = inspect.Parameter.empty


@dataclass(frozen=True)
class PipelineParameter:
    """A parameter of a KFP pipeline; its type is what KFP would read from an annotation."""

    name: str
    type: type
    default: Any = _NONE
    description: str = ""


def with_parameters(
    body: Callable[..., Any], parameters: Sequence[PipelineParameter], summary: str, returns: type | None = None
) -> Callable[..., Any]:
    """Return a function for `dsl.pipeline` that passes every parameter to `body` by name."""

    def pipeline(*values: Any) -> Any:
        return body(**dict(zip((parameter.name for parameter in parameters), values, strict=True)))

    pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(p.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=p.default, annotation=p.type)
            for p in parameters
        ],
        return_annotation=_NONE if returns is None else returns,
    )
    described = [f"    {p.name}: {p.description}" for p in parameters if p.description]
    pipeline.__doc__ = "\n".join([summary, *(["", "Args:", *described] if described else [])])
    return pipeline
