"""`rapid report`: the HTML report of a run, finished or not."""

from pathlib import Path
from typing import Annotated

import typer

from components.contract.errors import InputError
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, find_run


def report_command(
    run: RunArgument,
    store: StoreOption = DEFAULT_STORE,
    output: Annotated[Path | None, typer.Option(help="Where to write it; RUN.html by default.")] = None,
) -> None:
    """Write the report of a run as one self-contained HTML file, also while the run is going on.

    Example:

        rapid report small --output small.html
    """
    found = find_run(run, store)
    from components.publish.report import render_report

    path = output or Path(f"{found.layout.run}.html")
    html = render_report(found)
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place with --output") from None
    typer.echo(path.absolute())
