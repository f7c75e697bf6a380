"""`rapid run`: a fine-tune on this machine, through the pipeline that runs on a cluster."""

import shlex
from typing import Annotated

import typer
from rich.console import Console

from components.contract.config import RunConfig
from components.contract.errors import EXIT_BAD_INPUT, InputError
from components.contract.resolve import load_config
from components.results import read_iteration, read_run, run_warnings
from components.store import Run, open_run, open_store, run_uri
from components.tracking.server import tracking_uri, without_credentials
from pipelines.checks.configuration import loaded_graders, refuse_nodes
from pipelines.cli.arguments import ConfigArgument, OverridesArgument
from pipelines.cli.dry_run import print_plan
from pipelines.cli.live import LiveView
from pipelines.cli.scripts import script
from pipelines.cli.tables import iteration_line, results_table, totals_line
from pipelines.launch import LocalRun
from pipelines.plan import make_plan

_LOG_TAIL = 25


def run_command(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    unsafe: Annotated[
        bool,
        typer.Option(
            "--unsafe",
            help="Run programs that models wrote even where there is no sandbox: reward.sandbox.unsafe=true.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check everything the run needs, estimate tokens, memory and storage, and start nothing. "
            "Exits with status 2 when something would keep it from starting.",
        ),
    ] = False,
) -> None:
    """Run a fine-tune here and now, through the same pipeline definition that runs on a cluster.

    The run's name is its identity: the same command again continues after the last committed stage, and a
    finished run can go on with a larger loop.iterations.

    Examples:

        rapid run pipelines/demo/arithmetic.yaml

        rapid run my.yaml run.name=second train.learning_rate=5e-7 loop.iterations=8

        rapid run my.yaml store=s3://bucket/prefix

        rapid run my.yaml --dry-run
    """
    words = [*(overrides or ()), *(["reward.sandbox.unsafe=true"] if unsafe else [])]
    command = ["run", str(config), *words]
    if not dry_run:
        execute(load_config(config, words), command)
        return
    plan = make_plan(load_config(config, words), config)
    print_plan(plan, command, Console())
    if not plan.could_start:
        raise typer.Exit(EXIT_BAD_INPUT)


def execute(config: RunConfig, command: list[str]) -> None:
    """Run a resolved configuration to its end and print what came of it.

    Args:
        command: the words after `rapid` that start this very run, to be shown with more iterations.

    Raises:
        typer.Exit: 2 when a stage found bad input, 1 when the pipeline failed otherwise, 130 after Ctrl-C.
    """
    # A grader that cannot be loaded, or a missing sandbox, would otherwise be found only after the first rollout.
    loaded_graders(config.reward)
    refuse_nodes(config)
    console = Console()
    _headline(config, console)
    errors: list[str] = []
    with LocalRun(config) as local:
        try:
            with LiveView(console) as view:
                for event in local.events():
                    _show(event, config, view, errors)
        except KeyboardInterrupt:
            console.print("stopped; what was committed is kept, the same command continues from there")
            raise typer.Exit(130) from None
    if local.succeeded:
        _summary(open_run(_uri(config)), command, console)
        return
    errors_to = Console(stderr=True)
    # Shards that meet the same mistake each report it.
    for message in dict.fromkeys(errors):
        errors_to.print(f"error: {message}", highlight=False, markup=False, soft_wrap=True)
    if not errors:
        for line in local.log_tail(_LOG_TAIL):
            errors_to.print(line, highlight=False, markup=False, soft_wrap=True)
        errors_to.print("a stage ended without a word; the same command continues after the last committed one")
    errors_to.print(f"log: {local.log}", highlight=False, soft_wrap=True)
    raise typer.Exit(EXIT_BAD_INPUT if errors else 1)


def _uri(config: RunConfig) -> str:
    return run_uri(open_store(config.store.uri), config.run.name)


def _headline(config: RunConfig, console: Console) -> None:
    train = config.train
    plan = (
        f"{config.loop.iterations} iterations of {config.prompts_per_iteration} prompts x "
        f"{config.rollout.group_size} completions, {train.updates} updates each ({train.objective.name})"
        f"{', sampled one policy behind' if config.loop.staleness else ''}"
        if config.loop.iterations
        else "evaluation only"
    )
    console.print(f"run {config.run.name} in {_uri(config)}", highlight=False, markup=False, soft_wrap=True)
    console.print(plan, highlight=False, markup=False, soft_wrap=True)


def _show(event: dict[str, object], config: RunConfig, view: LiveView, errors: list[str]) -> None:
    match event:
        case {"rapid": "progress"}:
            view.progress(event)
        case {"rapid": "note", "text": str(text)}:
            view.line(text)
        case {"rapid": "error", "message": str(message)}:
            errors.append(message)
        case {"rapid": "iteration", "number": int(number)}:
            try:
                result = read_iteration(open_run(_uri(config)), number)
            except InputError as error:
                # The run itself goes on; only its watcher could not read.
                view.line(f"iteration {number}: {error}")
            else:
                view.line(iteration_line(result) if result else f"iteration {number}")


def _summary(run: Run, command: list[str], console: Console) -> None:
    results = read_run(run)
    console.print()
    console.print(results_table(run.config, results))
    console.print(totals_line(results), highlight=False, soft_wrap=True)
    for warning in run_warnings(results):
        console.print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)
    report = f"{run.layout.report}/index.html"
    lines = [
        f"report:        {run.store.local_path(report) or run.store.locate(report)}",
        f"policy:        {run.store.locate(run.layout.policy(results.policy_version))}",
    ]
    if run.config.tracking.enabled:
        lines.append(f"MLflow:        {_mlflow(run)}")
    lines += [
        "read:          " + _trajectories_command(run, results.policy_version),
        f"go on:         {_longer(run.config, command)}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _trajectories_command(run: Run, iterations: int) -> str:
    last = ["--iteration", str(iterations)] if iterations else []
    return shlex.join([script("rapid"), "trajectories", run.uri.removeprefix("file://"), *last, "--worst"])


def _longer(config: RunConfig, command: list[str]) -> str:
    """The command that continues a finished run."""
    words = [script("rapid"), *command, f"loop.iterations={config.loop.iterations + 2}"]
    if config.train.schedule != "constant" and config.train.schedule_steps is None:
        # Otherwise more iterations would stretch the schedule under what is already trained.
        words.append(f"train.schedule_steps={config.total_steps}")
    return shlex.join(words)


def _mlflow(run: Run) -> str:
    uri = without_credentials(tracking_uri(run))
    if uri.startswith("http"):
        return uri
    return shlex.join([script("mlflow"), "ui", "--backend-store-uri", uri])
