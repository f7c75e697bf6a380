"""KFP component of layout pod: the stages of every iteration as processes of one pod."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/pod:0.1.0", install_kfp_package=False)
def pod(run_uri: str, limits: str, metrics: dsl.Output[dsl.Metrics]) -> None:
    """Sample, grade and train every iteration.

    `limits` are those of the process that starts the stages, as JSON. The metrics are those of the last iteration.
    """
    from components.pod.supervisor import run_stages
    from components.results import newest_iteration_numbers
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits
    from components.runtime.task import show_numbers
    from components.store import open_run

    with exit_on_bad_input():
        run_stages(run_uri, Limits.from_json(limits))
        show_numbers(newest_iteration_numbers(open_run(run_uri)), metrics)
