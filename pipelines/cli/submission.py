"""Options and lines that `rapid submit` and `rapid schedule` share."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.cluster.submission import Version

ServiceAccountOption = Annotated[
    str | None,
    typer.Option(help="Kubernetes service account of the pods, where it is not FILE's.", show_default=False),
]


def version_line(version: "Version") -> str:
    return f"pipeline version {version.name} ({'as uploaded before' if version.reused else 'uploaded now'})"
