"""What a person sees of a run on a cluster: while it goes on, and how it ended."""

import kfp_server_api as kfp
import typer
from rich.console import Console

from components.contract.errors import InputError
from components.results import IterationResult, read_run, run_warnings
from components.store import ObjectMissing, Run
from pipelines.cli.tables import iteration_line, results_table, totals_line
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.connection import installed_in
from pipelines.cluster.errors import ClusterUnavailable
from pipelines.cluster.runs import ended, run_name, state_word
from pipelines.cluster.tasks import Tasks, failure_message
from pipelines.cluster.watching import Watcher

EXIT_FAILED, EXIT_CANCELLED, EXIT_INTERRUPTED = 1, 3, 130


def follow(watcher: Watcher) -> None:
    """Print what happens until the run has ended, then how.

    Raises:
        typer.Exit: 1 where it failed, 3 where it was cancelled, 130 after Ctrl-C, which leaves it running.
    """
    console = Console()
    name = run_name(watcher.run)
    back = f"run {name} goes on; {come_back(watcher.client, name)}"
    try:
        for news in watcher.news():
            say(console, iteration_line(news) if isinstance(news, IterationResult) else news)
    except KeyboardInterrupt:
        say(console, back)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (InputError, ClusterUnavailable):
        say(Console(stderr=True), back)
        raise
    show_results(watcher, console)
    show_ending(watcher, console)


def come_back(client: ClusterClient, name: str) -> str:
    """The commands that follow a run and end it."""
    options = client.options
    return f"come back with: rapid status {name} --watch{options} (end it with: rapid cancel {name}{options})"


def show_results(watcher: Watcher, console: Console) -> None:
    """The table of what the run has committed, where its store can be read from here."""
    try:
        stored = watcher.stored()
        results = read_run(stored)
    except ObjectMissing:
        say(console, "nothing is committed yet")
        return
    except InputError as error:
        say(console, f"no results from here: {error}")
        return
    console.print()
    console.print(results_table(stored.config, results))
    console.print(totals_line(results), highlight=False, soft_wrap=True)
    for warning in run_warnings(results):
        console.print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)
    for line in _places(stored, results.policy_version):
        say(console, line)


def show_ending(watcher: Watcher, console: Console) -> None:
    """How a run ended, and what may be done now. Raises typer.Exit where it did not succeed."""
    run = watcher.run
    name = run_name(run)
    say(console, f"{state_word(run)}: {watcher.client.run_link(run.run_id)}")
    if not ended(run) or run.state == "SUCCEEDED":
        return
    if run.state == "CANCELED":
        say(console, f"what was committed is kept; go on with: rapid resume {name}{watcher.client.options}")
        raise typer.Exit(EXIT_CANCELLED)
    errors_to = Console(stderr=True)
    for line in failure_lines(watcher.client, run):
        say(errors_to, line)
    say(errors_to, f"what was committed is kept; when the cause is fixed: rapid resume {name}{watcher.client.options}")
    raise typer.Exit(EXIT_FAILED)


def failure_lines(client: ClusterClient, run: kfp.V2beta1Run) -> list[str]:
    """The tasks that failed, each with what Kubeflow says of it and the command that shows its log."""
    lines = []
    for task in Tasks(run).failed():
        lines.append(f"error: {task.name} failed: {task.message or 'why stands in its log'}")
        if task.pod:
            namespace = client.namespace or installed_in()
            lines.append(f"its log: kubectl logs -n {namespace} {task.pod} -c main")
    return lines or [f"error: {failure_message(run) or 'Kubeflow names no task that failed'}"]


def say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _places(run: Run, version: int) -> list[str]:
    report = f"{run.layout.report}/index.html"
    lines = [f"report:        {run.store.locate(report)}"] if run.store.exists(report) else []
    return [*lines, f"policy:        {run.store.locate(run.layout.policy(version))}"]
