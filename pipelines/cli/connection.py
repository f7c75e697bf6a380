"""Options that say how to reach Kubeflow, shared by every command that does."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipelines.cluster import connection as variables
from pipelines.cluster.connection import Connection
from pipelines.cluster.errors import ClusterUnavailable

_PANEL = "Connection (docs/kubernetes/running.md has every way to authenticate)"

EndpointOption = Annotated[
    str | None,
    typer.Option(
        help="Web address of Kubeflow Pipelines; without it the pod's own cluster, or kubectl's.",
        envvar=variables.ENDPOINT,
        rich_help_panel=_PANEL,
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        help="Your namespace, where Kubeflow has several users.", envvar=variables.NAMESPACE, rich_help_panel=_PANEL
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        help="Certificates (PEM) of the authority that signed the server's.",
        envvar=variables.CA,
        rich_help_panel=_PANEL,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        help=f"File with a bearer token, read before each request. The token itself: {variables.TOKEN}, "
        "in the environment only.",
        envvar=variables.TOKEN_FILE,
        rich_help_panel=_PANEL,
    ),
]
CookiesFileOption = Annotated[
    Path | None,
    typer.Option(
        help=f"File with cookies, as a Cookie header holds them. The cookies themselves: {variables.COOKIES}, "
        "in the environment only.",
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
    """Give a command these options, and its parameter `connection` what they hold.

    A server that does not answer ends the command with one line and status 1.
    """

    @functools.wraps(command)
    def with_connection(**options: Any) -> None:
        given = Connection(**{name: options.pop(name) for name in _OPTIONS})
        try:
            command(connection=given, **options)
        except ClusterUnavailable as error:
            Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
            raise typer.Exit(1) from None

    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "connection"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    # Typer reads a command's parameters from both.
    with_connection.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    with_connection.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
    return with_connection
