"""Arguments that several commands share, and the stored run that they name."""

from pathlib import Path
from typing import Annotated

import typer

from components.contract.config import StoreSection
from components.contract.layout import RUNS
from components.store import ObjectMissing, Run, open_run, open_store, run_uri

ConfigArgument = Annotated[Path, typer.Argument(help="Configuration of the run (YAML).", metavar="CONFIG")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Settings that override CONFIG.", metavar="KEY=VALUE", show_default=False),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        help="Name of a run, or its location: rapid-store/runs/NAME, s3://bucket/prefix/runs/NAME.", metavar="RUN"
    ),
]
ClusterRunArgument = Annotated[
    str, typer.Argument(help="Name or ID of a run on the cluster; rapid runs lists them.", metavar="RUN")
]
StoreOption = Annotated[str, typer.Option(help="Store in which to look for a run's name.")]
WatchOption = Annotated[
    bool, typer.Option("--watch", help="Follow the run until it ends. Ctrl-C stops following, not the run.")
]
DEFAULT_STORE = StoreSection().uri


def find_stored_run(run: str, store: str) -> Run:
    """Open a run by name or by location.

    Raises:
        ObjectMissing: the run does not exist; the message names the runs that do.
        InputError: the store cannot be read.
    """
    if "://" in run:
        return open_run(run)
    if "/" in run.rstrip("/"):
        head, _, name = run.rstrip("/").rpartition("/")
        # A run directly below the root of the file system leaves an empty head.
        root = (head.removesuffix(f"/{RUNS}") or "/") if head != RUNS else "."
        return open_run(run_uri(open_store(root), name))
    named = open_store(store)
    try:
        return open_run(run_uri(named, run.rstrip("/")))
    except ObjectMissing as error:
        configs = (info.key for info in named.list(RUNS) if info.key.endswith("/config.json"))
        names = sorted({key.split("/")[1] for key in configs if key.count("/") == 2})
        existing = f"it holds {', '.join(names[:10])}" if names else "it holds no runs"
        raise ObjectMissing(f"{error} ({existing}); name another store with --store") from None
