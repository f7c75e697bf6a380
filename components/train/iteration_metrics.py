"""An iteration's metrics in Kubeflow and MLflow."""

from kfp import dsl

from components.results import iteration_numbers, newest_iteration_numbers
from components.runtime.task import show_numbers
from components.store import open_run
from components.train.aftermath import Aftermath


def log_iteration(run_uri: str, iteration: int, metrics: dsl.Metrics) -> int:
    """Show and track a trained iteration; return how many remain, 0 once the target is reached."""
    run = open_run(run_uri)
    show_numbers(iteration_numbers(run, iteration), metrics)
    with Aftermath(run) as aftermath:
        aftermath.of(iteration)
    if run.directory(run.layout.train(iteration)).require().facts["outcome"] == "target_reached":
        return 0
    return run.config.loop.iterations - iteration


def log_last_iteration(run_uri: str, metrics: dsl.Metrics) -> str:
    """Show the last trained iteration; return the URI of the newest policy."""
    run = open_run(run_uri)
    show_numbers(newest_iteration_numbers(run), metrics)
    return run.policy_location(run.policy_version())
