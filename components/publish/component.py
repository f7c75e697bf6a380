"""KFP component of the publish stage."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/base:0.1.0", install_kfp_package=False)
def publish(
    run_uri: str, rewards: list, limits: str, report: dsl.Output[dsl.HTML], metrics: dsl.Output[dsl.Metrics]
) -> None:
    """Register every policy of the run, move the champion alias if the best is better, write the report.

    Args:
        rewards: the reward stages' outputs; they order the tasks and name the inputs in the KFP graph.
        limits: of the process that starts the stage, as JSON.
    """
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits
    from components.runtime.task import run_task, show_output
    from components.store import open_run

    with exit_on_bad_input():
        run_task("publish", run_uri, Limits.from_json(limits))
        run = open_run(run_uri)
        written = run.directory(run.layout.report)
        show_output(written, metrics)
        html = written.read("index.html")
    with open(report.path, "wb") as stream:
        stream.write(html)
