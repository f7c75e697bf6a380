"""`rapid report`: the HTML report of a run, finished or not."""

from pathlib import Path
from typing import Annotated

import typer

from components.contract.errors import InputError
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, find_stored_run


def report_command(
    run: RunArgument,
    store: StoreOption = DEFAULT_STORE,
    output: Annotated[Path | None, typer.Option(help="File to write; RUN.html by default.")] = None,
) -> None:
    """Write the report of a run, finished or not, as one self-contained HTML file.

    Example:

        rapid report small --output small.html
    """
    stored = find_stored_run(run, store)
    from components.publish.render_report import render_report

    path = output or Path(f"{stored.layout.run}.html")
    html = render_report(stored)
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place with --output") from None
    typer.echo(path.absolute())
