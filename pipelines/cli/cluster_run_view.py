"""Print a run on a cluster: its progress while it goes on, and how it ended."""

import kfp_server_api as kfp
import typer
from rich.console import Console

from components.contract.errors import InputError
from components.results import IterationResult, read_run
from components.store import ObjectMissing
from pipelines.cli.output import say
from pipelines.cli.run_tables import iteration_line, print_results
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.connection import ClusterUnavailable, kfp_namespace
from pipelines.cluster.runs import has_ended, run_name, run_state
from pipelines.cluster.task_details import TaskDetails, failure_message
from pipelines.cluster.watcher import Watcher

EXIT_FAILED, EXIT_CANCELLED, EXIT_INTERRUPTED = 1, 3, 130


def follow_or_explain(client: ClusterClient, run: kfp.V2beta1Run, watch: bool) -> None:
    """Follow a run that has just started, or print the commands that follow and cancel it."""
    if watch:
        follow(Watcher(client, run))
    else:
        say(Console(), f"follow it with: {_commands(client, run_name(run))}")


def follow(watcher: Watcher) -> None:
    """Print what happens until the run has ended, then how it ended.

    Raises:
        typer.Exit: 1 if the run failed, 3 if it was cancelled, 130 after Ctrl-C, which leaves it running.
    """
    console = Console()
    name = run_name(watcher.run)
    continues = f"run {name} continues; follow it with: {_commands(watcher.client, name)}"
    try:
        for news in watcher.news():
            say(console, iteration_line(news) if isinstance(news, IterationResult) else news)
    except KeyboardInterrupt:
        say(console, continues)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (InputError, ClusterUnavailable):
        say(Console(stderr=True), continues)
        raise
    show_results(watcher, console)
    show_ending(watcher, console)


def show_results(watcher: Watcher, console: Console) -> None:
    """Print the table of what the run has committed, if its store can be read from this machine."""
    try:
        run = watcher.stored_run()
        results = read_run(run)
    except ObjectMissing:
        say(console, "nothing is committed yet")
        return
    except InputError as error:
        say(console, f"the results cannot be read from this machine: {error}")
        return
    console.print()
    print_results(run.config, results, console)
    report = f"{run.layout.report}/index.html"
    if run.store.exists(report):
        say(console, f"report:        {run.store.locate(report)}")
    say(console, f"policy:        {run.policy_location(results.policy_version)}")


def show_ending(watcher: Watcher, console: Console) -> None:
    """Print how a run ended and how to continue it. Raises typer.Exit if it did not succeed."""
    run = watcher.run
    resume = f"rapid resume {run_name(run)}{watcher.client.connection.options}"
    say(console, f"{run_state(run)}: {watcher.client.run_link(run.run_id)}")
    if not has_ended(run) or run.state == "SUCCEEDED":
        return
    if run.state == "CANCELED":
        say(console, f"committed stages are kept; continue with: {resume}")
        raise typer.Exit(EXIT_CANCELLED)
    error_console = Console(stderr=True)
    for line in _failure_lines(watcher.client, run):
        say(error_console, line)
    say(error_console, f"committed stages are kept; once the cause is fixed, continue with: {resume}")
    raise typer.Exit(EXIT_FAILED)


def _failure_lines(client: ClusterClient, run: kfp.V2beta1Run) -> list[str]:
    """Return, for each task that failed, Kubeflow's message and the command that shows its log."""
    lines = []
    for task in TaskDetails(run).failed():
        lines.append(f"error: {task.name} failed: {task.message or 'see its log for the reason'}")
        if task.pod:
            lines.append(f"its log: kubectl logs -n {client.namespace or kfp_namespace()} {task.pod} -c main")
    return lines or [f"error: {failure_message(run) or 'Kubeflow names no task that failed'}"]


def _commands(client: ClusterClient, name: str) -> str:
    """Return the commands that follow and cancel a run."""
    options = client.connection.options
    return f"rapid status {name} --watch{options} (cancel it with: rapid cancel {name}{options})"
