"""Arguments and options that several commands share: the run that they name, and the connection to a cluster."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from components.contract.config import StoreSection
from components.contract.errors import InputError
from components.contract.layout import RUNS
from components.contract.resolve import load_config
from components.store import ObjectMissing, Run, open_run, open_store, run_uri
from pipelines.cli.output import say
from pipelines.cluster import connection as variables
from pipelines.cluster.connection import ClusterUnavailable, Connection

ConfigArgument = Annotated[Path, typer.Argument(help="Configuration of the run (YAML).", metavar="CONFIG")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Settings that override CONFIG.", metavar="KEY=VALUE", show_default=False),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        help="Name of a run, its location (rapid-store/runs/NAME, s3://bucket/prefix/runs/NAME) or its configuration "
        "(my.yaml).",
        metavar="RUN",
    ),
]
ClusterRunArgument = Annotated[
    str, typer.Argument(help="Name or ID of a run on the cluster; rapid runs lists them.", metavar="RUN")
]
StoreOption = Annotated[str, typer.Option(help="Store in which to look for a run's name.")]
WatchOption = Annotated[
    bool, typer.Option("--watch", help="Follow the run until it ends. Ctrl-C stops following, not the run.")
]
ResumesOption = Annotated[
    int,
    typer.Option(
        "--resume",
        metavar="N",
        min=0,
        help="With --watch: continue the run by itself, up to N times, when it failed because a pod was killed, "
        "evicted or out of memory.",
    ),
]
DEFAULT_STORE = StoreSection().uri


def _connection_option(variable: str, text: str) -> Any:
    panel = "Connection (every way to authenticate: docs/kubernetes/running.md)"
    return typer.Option(help=text, envvar=variable, rich_help_panel=panel)


_CONNECTION_OPTIONS = {
    "endpoint": Annotated[
        str | None,
        _connection_option(
            variables.ENDPOINT, "URL of Kubeflow Pipelines. By default the cluster of the pod, or that of kubectl."
        ),
    ],
    "namespace": Annotated[
        str | None, _connection_option(variables.NAMESPACE, "Your namespace, if Kubeflow is multi-user.")
    ],
    "ca": Annotated[Path | None, _connection_option(variables.CA, "CA certificates (PEM) to verify the server with.")],
    "token_file": Annotated[
        Path | None,
        _connection_option(
            variables.TOKEN_FILE,
            f"File with a bearer token, read before each request. To pass the token, set {variables.TOKEN}.",
        ),
    ],
    "cookies_file": Annotated[
        Path | None,
        _connection_option(
            variables.COOKIES_FILE,
            f"File with cookies, in the form of a Cookie header. To pass the cookies, set {variables.COOKIES}.",
        ),
    ],
}


def require_watch(resumes: int, watch: bool) -> None:
    """Refuse `--resume` without `--watch`. Raises InputError."""
    if resumes and not watch:
        raise InputError("--resume goes with --watch: only who watches a run can continue it")


def named_run(run: str, store: str) -> tuple[str, str]:
    """Return the name and the store of a configuration's run if `run` is its path, else both as given.

    Raises InputError for a configuration that cannot be read.
    """
    path = Path(run)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return run, store
    config = load_config(path)
    return config.run.name, config.store.uri


def stored_run_uri(run: str, store: str) -> str:
    """Return the URI of a run that is given by name, location or configuration. Raises InputError."""
    run, store = named_run(run, store)
    if "://" in run:
        return run
    if "/" not in run.rstrip("/"):
        return run_uri(open_store(store), run.rstrip("/"))
    head, _, name = run.rstrip("/").rpartition("/")
    # A run directly below the root of the file system leaves an empty head.
    root = (head.removesuffix(f"/{RUNS}") or "/") if head != RUNS else "."
    return run_uri(open_store(root), name)


def find_stored_run(run: str, store: str) -> Run:
    """Open a run by name, location or configuration.

    Raises:
        ObjectMissing: the run does not exist; the message names the runs that do.
        InputError: the store cannot be read.
    """
    run, store = named_run(run, store)
    try:
        return open_run(stored_run_uri(run, store))
    except ObjectMissing as error:
        if "/" in run.rstrip("/"):
            raise
        named = open_store(store)
        configs = (info.key for info in named.list(RUNS) if info.key.endswith("/config.json"))
        names = sorted({key.split("/")[1] for key in configs if key.count("/") == 2})
        existing = f"it holds {', '.join(names[:10])}" if names else "it holds no runs"
        raise ObjectMissing(f"{error} ({existing}); name another store with --store") from None


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Add the connection options to a command and pass them to it as its parameter `connection`.

    If the server does not answer, the command prints one line and exits with status 1.
    """

    @functools.wraps(command)
    def with_connection(**options: Any) -> None:
        given = Connection(**{name: options.pop(name) for name in _CONNECTION_OPTIONS})
        try:
            command(connection=given, **options)
        except ClusterUnavailable as error:
            say(Console(stderr=True), f"error: {error}")
            raise typer.Exit(1) from None

    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "connection"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _CONNECTION_OPTIONS.items()
    ]
    # Typer reads both.
    with_connection.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    with_connection.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
    return with_connection
