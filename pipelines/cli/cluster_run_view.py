"""Print a run on a cluster: its progress while it goes on, and how it ended."""

import kfp_server_api as kfp
import typer
from rich.console import Console

from components.contract.errors import InputError
from components.contract.layout import RunLayout
from components.results import IterationResult, best_policy, read_run
from components.runtime.failure import Failure
from components.store import ObjectMissing, open_store
from components.store.attempt_logs import failed_attempt
from pipelines.cli.output import say
from pipelines.cli.run_tables import iteration_line, print_results
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.connection import ClusterUnavailable, kfp_namespace
from pipelines.cluster.runs import has_ended, resume, run_config, run_name, run_state, was_cancelled
from pipelines.cluster.silent_workers import CLOCKS
from pipelines.cluster.task_details import TaskDetails
from pipelines.cluster.watcher import Watcher

EXIT_FAILED, EXIT_CANCELLED, EXIT_INTERRUPTED = 1, 3, 130


def follow_or_explain(client: ClusterClient, run: kfp.V2beta1Run, watch: bool, resumes: int = 0) -> None:
    """Follow a run that has just started, or print the commands that follow and cancel it.

    Args:
        resumes: as for `follow`.
    """
    if watch:
        follow(Watcher(client, run), resumes)
    else:
        say(Console(), f"follow it with: {_commands(client, run_name(run))}")


def follow(watcher: Watcher, resumes: int = 0) -> None:
    """Print what happens until the run has ended, then how it ended.

    Args:
        resumes: how often a run that failed because a pod was lost is continued.

    Raises:
        typer.Exit: 1 if the run failed, 3 if it was cancelled, 130 after Ctrl-C, which leaves it running.
    """
    console = Console()
    name = run_name(watcher.run)
    continues = f"run {name} continues; follow it with: {_commands(watcher.client, name)}"
    try:
        for count in range(resumes + 1):
            for news in watcher.news():
                say(console, iteration_line(news) if isinstance(news, IterationResult) else news)
            if count == resumes or not watcher.lost_a_pod():
                break
            run = resume(watcher.client, watcher.run)
            watcher = watcher.resumed(run)
            link = watcher.client.run_link(run.run_id)
            say(console, f"a pod was lost; run {name} resumed, {count + 1} of {resumes} times: {link}")
    except KeyboardInterrupt:
        say(console, continues)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (InputError, ClusterUnavailable):
        say(Console(stderr=True), continues)
        raise
    show_results(watcher, console)
    show_ending(watcher, console)


def show_results(watcher: Watcher, console: Console) -> None:
    """Print the table of what the run has committed, or Kubeflow's tasks if this machine cannot read its store."""
    if watcher.store_unreadable:
        return  # as the watcher has said
    try:
        run = watcher.stored_run()
        results = read_run(run)
    except ObjectMissing:
        say(console, "nothing is committed yet")
        return
    except InputError as error:
        say(console, watcher.unreadable(error))
        for line in watcher.stages():
            say(console, line)
        return
    console.print()
    print_results(run.config, results, console)
    report = f"{run.layout.report}/index.html"
    if run.store.exists(report):
        say(console, f"report:        {run.store.locate(report)}")
    say(console, f"best policy:   {run.policy_location(best_policy(run, results))}")


def show_ending(watcher: Watcher, console: Console) -> None:
    """Print how a run ended and how to continue it. Raises typer.Exit if it did not succeed."""
    run = watcher.run
    command = f"rapid resume {run_name(run)}{watcher.client.connection.options}"
    say(console, f"{run_state(run)}: {watcher.client.run_link(run.run_id)}")
    if not has_ended(run) or run.state == "SUCCEEDED":
        return
    if was_cancelled(run):
        say(console, f"committed stages are kept; continue with: {command}")
        raise typer.Exit(EXIT_CANCELLED)
    error_console = Console(stderr=True)
    for line in _failure_lines(watcher):
        say(error_console, line)
    say(error_console, f"committed stages are kept; once the cause is fixed, continue with: {command}")
    raise typer.Exit(EXIT_FAILED)


def failure_reason(client: ClusterClient, run: kfp.V2beta1Run) -> str:
    """Return the reason of a failed run in one line, from its store or from Kubeflow's tasks."""
    # Listed runs lack their tasks.
    return _failure_lines(Watcher(client, client.run(run.run_id)))[0].removeprefix("error: ")


def _failure_lines(watcher: Watcher) -> list[str]:
    """Return the reason that a stage has left, and how to read its log; else what Kubeflow knows, and its pods."""
    client, run = watcher.client, watcher.run
    failure = watcher.failure() or _failed_attempt(run)
    if failure:
        log = f"its log: rapid logs {run_name(run)} {failure.stage}{client.connection.options}"
        lines = [f"error: {failure.stage}: {failure.message}", log]
        return [*lines, pods_line(client, run)] if failure.lost else lines
    lines = [f"error: {failure}" for failure in TaskDetails(run).failures()]
    return [*(lines or ["error: Kubeflow names no task that failed"]), pods_line(client, run)]


def _failed_attempt(run: kfp.V2beta1Run) -> Failure | None:
    """Return what the log says of a stage that left no reason beside it, as prepare does not in a run of others."""
    try:
        config = run_config(run)
        store, layout = open_store(config.store.uri), RunLayout(config.run.name)
        failed = failed_attempt(store, layout, run.created_at - CLOCKS)
    except InputError:
        return None
    return Failure(stage=failed.stage, message=failed.reason) if failed else None


def pods_line(client: ClusterClient, run: kfp.V2beta1Run) -> str:
    """Return the command that finds the pods of a run."""
    namespace = client.namespace or kfp_namespace()
    return f"its pods, for an hour or so: kubectl get pods -n {namespace} -l pipeline/runid={run.run_id}"


def _commands(client: ClusterClient, name: str) -> str:
    """Return the commands that follow and cancel a run."""
    options = client.connection.options
    return f"rapid status {name} --watch{options} (cancel it with: rapid cancel {name}{options})"
