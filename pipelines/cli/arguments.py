"""Arguments that several sub-commands share, and the run they name."""

from pathlib import Path
from typing import Annotated

import typer

from components.contract.config import StoreSection
from components.contract.layout import RUNS
from components.store import ObjectMissing, Run, open_run, open_store, run_uri

ConfigArgument = Annotated[Path, typer.Argument(help="YAML configuration of the run.", metavar="CONFIG")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Settings that replace those of CONFIG.", metavar="KEY=VALUE", show_default=False),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        help="Name of a run, or where it lies: rapid-store/runs/NAME, s3://bucket/prefix/runs/NAME.", metavar="RUN"
    ),
]
ClusterRunArgument = Annotated[
    str, typer.Argument(help="Name of a run on the cluster, or its ID; rapid runs lists them.", metavar="RUN")
]
StoreOption = Annotated[str, typer.Option(help="Store in which a run's name is looked up.")]
DEFAULT_STORE = StoreSection().uri


def find_run(run: str, store: str) -> Run:
    """Open a run by name or by URI.

    Raises:
        ObjectMissing: there is no such run; names the runs that are there.
        InputError: the store cannot be read.
    """
    if "://" in run:
        return open_run(run)
    if "/" in run.rstrip("/"):
        head, _, name = run.rstrip("/").rpartition("/")
        # Below the root of the file system nothing is left of the head.
        root = (head.removesuffix(f"/{RUNS}") or "/") if head != RUNS else "."
        return open_run(run_uri(open_store(root), name))
    opened = open_store(store)
    try:
        return open_run(run_uri(opened, run.rstrip("/")))
    except ObjectMissing as error:
        configs = (info.key for info in opened.list(RUNS) if info.key.endswith("/config.json"))
        names = sorted({key.split("/")[1] for key in configs if key.count("/") == 2})
        there = f"it holds {', '.join(names[:10])}" if names else "it holds no runs"
        raise ObjectMissing(f"{error} ({there}); name another store with --store") from None
