"""`rapid run` and `rapid demo`: a fine-tune on this machine, through the pipeline that runs on a cluster."""

import os
import shlex
from datetime import datetime
from itertools import count
from typing import Annotated, Literal

import typer
from rich.console import Console

from components.contract.config import RunConfig
from components.contract.credentials import without_credentials
from components.contract.errors import EXIT_BAD_INPUT, InputError
from components.contract.layout import RunLayout
from components.contract.manifest import now
from components.contract.resolve import load_config
from components.results import best_policy, read_iteration, read_run
from components.runtime.progress import StageProgress
from components.store import Run, open_run, open_store, run_uri
from components.store.attempt_logs import failed_attempt
from components.tracking.server import tracking_uri
from pipelines.cli.arguments import ConfigArgument, OverridesArgument
from pipelines.cli.output import LiveView, say, script
from pipelines.cli.plan_tables import print_plan
from pipelines.cli.run_tables import iteration_line, print_results
from pipelines.local_run import LocalRun
from pipelines.plan import make_plan
from pipelines.preflight import check_before_run
from pipelines.preflight.findings import refuse_errors

_LOG_TAIL = 25
LocalLayout = Literal["pod", "tasks"]


def run_command(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    unsafe: Annotated[
        bool,
        typer.Option(
            "--unsafe",
            help="Run model-written programs even if this machine has no sandbox: reward.sandbox.unsafe=true.",
        ),
    ] = False,
    layout: Annotated[
        LocalLayout,
        typer.Option(
            help="pod: the stages are processes that stay loaded for the whole run. tasks: every stage of every "
            "iteration starts anew, one at a time. The results are the same, and a run that goes on may change it.",
        ),
    ] = "pod",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check everything the run needs, estimate its tokens, memory and storage, and start nothing. The exit "
            "status is 2 if the run could not start.",
        ),
    ] = False,
) -> None:
    """Run a fine-tune on this machine, through the pipeline that also runs on a cluster.

    The run's name is its identity: the same command continues it after the last committed stage, and a larger
    loop.iterations extends a finished run.

    Examples:

        rapid run pipelines/demo/arithmetic.yaml

        rapid run my.yaml run.name=second train.learning_rate=5e-7 loop.iterations=8

        rapid run my.yaml store=s3://bucket/prefix

        rapid run my.yaml --dry-run
    """
    words = [*(overrides or ()), *(["reward.sandbox.unsafe=true"] if unsafe else [])]
    command = ["run", str(config), *words, *(["--layout", layout] if layout != "pod" else [])]
    if not dry_run:
        execute(load_config(config, words), command, layout)
        return
    plan = make_plan(load_config(config, words), config)
    print_plan(plan, command, Console())
    if not plan.could_start:
        raise typer.Exit(EXIT_BAD_INPUT)


def demo_command(overrides: OverridesArgument = None) -> None:
    """Watch a tiny language model learn two-digit addition: two cores, a few minutes.

    The first call teaches a policy of 0.75 million parameters addition from examples of which half are wrong (about a
    minute; kept in .rapid/demo). Then, as every later call, it fine-tunes that policy in a new run, or continues a run
    that was stopped.
    """
    from pipelines.demo.arithmetic import CONFIG, HOME, RECIPE, assets_ready, make_assets

    words = list(overrides or ())
    config = load_config(CONFIG, words)
    if not assets_ready(HOME):
        with StageProgress("warm start of the demo policy", RECIPE.steps, "steps") as progress:
            make_assets(HOME, lambda step, loss: progress.update(step, f"loss {loss:.3f}"))
    if not any(word.startswith(("run=", "run.name=")) for word in words):
        words.append(f"run.name={_unfinished_name(config)}")
    execute(load_config(CONFIG, words), ["run", os.path.relpath(CONFIG), *words])


def _unfinished_name(config: RunConfig) -> str:
    """Return the configured name, numbered past the runs of that name that are finished."""
    store = open_store(config.store.uri)
    names = (config.run.name if number == 1 else f"{config.run.name}-{number}" for number in count(1))
    return next(name for name in names if not Run(store, RunLayout(name), config).published())


def execute(config: RunConfig, command: list[str], layout: LocalLayout = "pod") -> None:
    """Run a resolved configuration to its end and print its results.

    Args:
        command: the words after `rapid` that start this run, to be shown with more iterations.
        layout: how its stages become processes.

    Raises:
        typer.Exit: 2 if a stage found bad input, 1 if the pipeline failed otherwise, 130 after Ctrl-C.
    """
    refuse_errors(check_before_run(config))
    console = Console()
    _print_headline(config, console)
    errors: list[str] = []
    began = now()
    try:
        with LocalRun(config, layout) as local, LiveView(console) as view:
            for event in local.events():
                _show(event, config, view, errors)
    except KeyboardInterrupt:
        console.print("stopped; committed stages are kept, and the same command continues after them")
        raise typer.Exit(130) from None
    if local.succeeded:
        _print_summary(open_run(_uri(config)), command, console)
        return
    error_console = Console(stderr=True)
    for message in distinct(errors):
        say(error_console, f"error: {message}")
    if not errors:
        for line in crash_lines(config, began) or local.log_tail(_LOG_TAIL):
            say(error_console, line)
        say(error_console, "committed stages are kept; the same command continues after them")
    say(error_console, f"log: {local.log}")
    raise typer.Exit(EXIT_BAD_INPUT if errors else 1)


def distinct(errors: list[str]) -> list[str]:
    """Drop repetitions: shards that meet the same error each report it, and workers name the stage that failed."""
    return [
        message
        for message in dict.fromkeys(errors)
        if not any(message != other and message.endswith(other) for other in errors)
    ]


def crash_lines(config: RunConfig, began: datetime) -> list[str]:
    """Return why a stage ended that had no error message of its own, and how to read its log; nothing if none is known.

    Args:
        began: when the run was started.
    """
    try:
        failed = failed_attempt(open_store(config.store.uri), RunLayout(config.run.name), began)
    except InputError:
        return []
    if failed is None:
        return []
    command = shlex.join([script("rapid"), "logs", _uri(config).removeprefix("file://"), failed.stage])
    return [f"error: {failed.stage}: {failed.reason}", f"its log: {command}"]


def _uri(config: RunConfig) -> str:
    return run_uri(open_store(config.store.uri), config.run.name)


def _print_headline(config: RunConfig, console: Console) -> None:
    train = config.train
    loop = (
        f"{config.loop.iterations} iteration{'' if config.loop.iterations == 1 else 's'} of "
        f"{config.prompts_per_iteration} prompts x "
        f"{config.rollout.group_size} completions, up to {train.updates.most} updates each ({train.objective.name})"
        f"{', sampled one policy behind' if config.loop.staleness else ''}"
        if config.loop.iterations
        else "evaluation only"
    )
    say(console, f"run {config.run.name} in {_uri(config)}")
    say(console, loop)


def _show(event: dict[str, object], config: RunConfig, view: LiveView, errors: list[str]) -> None:
    match event:
        case {"rapid": "progress"}:
            view.progress(event)
        case {"rapid": "note", "text": str(text)}:
            say(view.console, text)
        case {"rapid": "error", "message": str(message)}:
            errors.append(message)
        case {"rapid": "iteration", "number": int(number)}:
            try:
                result = read_iteration(open_run(_uri(config)), number)
            except InputError as error:
                # The run itself continues; only this display could not read the store.
                say(view.console, f"iteration {number}: {error}")
            else:
                say(view.console, iteration_line(result) if result else f"iteration {number}")


def _print_summary(run: Run, command: list[str], console: Console) -> None:
    results = read_run(run)
    console.print()
    print_results(run.config, results, console)
    report, best = f"{run.layout.report}/index.html", best_policy(run, results)
    lines = [
        f"report:        {run.store.local_path(report) or run.store.locate(report)}",
        f"best policy:   {run.policy_location(best)}",
    ]
    if run.config.tracking.enabled:
        lines.append(f"MLflow:        {_mlflow(run)}")
    lines += [
        f"completions:   {_trajectories_command(run, results.policy_version)}",
        f"continue:      {_extending_command(run.config, command)}",
    ]
    for line in lines:
        say(console, line)


def _trajectories_command(run: Run, iterations: int) -> str:
    last = ["--iteration", str(iterations)] if iterations else []
    return shlex.join([script("rapid"), "trajectories", run.uri.removeprefix("file://"), *last, "--worst"])


def _extending_command(config: RunConfig, command: list[str]) -> str:
    """Return the command that extends a finished run."""
    words = [script("rapid"), *command, f"loop.iterations={config.loop.iterations + 2}"]
    if config.train.schedule != "constant" and config.train.schedule_steps is None:
        # Otherwise more iterations would stretch the schedule of the updates that are done.
        words.append(f"train.schedule_steps={config.total_steps}")
    return shlex.join(words)


def _mlflow(run: Run) -> str:
    uri = without_credentials(tracking_uri(run))
    if uri.startswith("http"):
        return uri
    return shlex.join([script("mlflow"), "ui", "--backend-store-uri", uri])
