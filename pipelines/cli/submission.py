"""Options and lines that `rapid submit` and `rapid schedule` share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.cluster.submission import Version

ClusterOption = Annotated[
    Path | None,
    typer.Option("--cluster", metavar="FILE", help="YAML of where and with what stages run.", show_default=False),
]
ServiceAccountOption = Annotated[
    str, typer.Option(help="Kubernetes service account of the pods.", show_default="rapid-stage")
]
SERVICE_ACCOUNT = "rapid-stage"


def version_line(version: "Version") -> str:
    return f"pipeline version {version.name} ({'as uploaded before' if version.reused else 'uploaded now'})"
