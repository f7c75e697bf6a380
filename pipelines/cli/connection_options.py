"""The connection options that all commands for clusters share."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipelines.cli.output import say
from pipelines.cluster import connection as variables
from pipelines.cluster.connection import ClusterUnavailable, Connection

_PANEL = "Connection (every way to authenticate: docs/kubernetes/running.md)"

EndpointOption = Annotated[
    str | None,
    typer.Option(
        help="URL of Kubeflow Pipelines. By default the cluster of the pod, or that of kubectl.",
        envvar=variables.ENDPOINT,
        rich_help_panel=_PANEL,
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(help="Your namespace, if Kubeflow is multi-user.", envvar=variables.NAMESPACE, rich_help_panel=_PANEL),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        help="CA certificates (PEM) to verify the server with.",
        envvar=variables.CA,
        rich_help_panel=_PANEL,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        help=f"File with a bearer token, read before each request. To pass the token, set {variables.TOKEN}.",
        envvar=variables.TOKEN_FILE,
        rich_help_panel=_PANEL,
    ),
]
CookiesFileOption = Annotated[
    Path | None,
    typer.Option(
        help=f"File with cookies, in the form of a Cookie header. To pass the cookies, set {variables.COOKIES}.",
        envvar=variables.COOKIES_FILE,
        rich_help_panel=_PANEL,
    ),
]
_OPTIONS = {
    "endpoint": EndpointOption,
    "namespace": NamespaceOption,
    "ca": CaOption,
    "token_file": TokenFileOption,
    "cookies_file": CookiesFileOption,
}


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Add the connection options to a command and pass them to it as its parameter `connection`.

    If the server does not answer, the command prints one line and exits with status 1.
    """

    @functools.wraps(command)
    def with_connection(**options: Any) -> None:
        given = Connection(**{name: options.pop(name) for name in _OPTIONS})
        try:
            command(connection=given, **options)
        except ClusterUnavailable as error:
            say(Console(stderr=True), f"error: {error}")
            raise typer.Exit(1) from None

    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "connection"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    # Typer reads both.
    with_connection.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    with_connection.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
    return with_connection
