"""KFP component of the publish stage."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/base:0.1.0", install_kfp_package=False)
def publish(run_uri: str, rewards: list, report: dsl.Output[dsl.HTML], metrics: dsl.Output[dsl.Metrics]) -> None:
    """Register the newest policy, move the champion alias if it is better, write the report."""
    from components.publish.stage import run_stage
    from components.runtime.guard import exit_on_bad_input
    from components.store import open_run

    with exit_on_bad_input():
        for key, value in run_stage(run_uri).numbers.items():
            metrics.log_metric(key, value)
        run = open_run(run_uri)
        html = run.directory(run.layout.report).read("index.html")
    with open(report.path, "wb") as stream:
        stream.write(html)
