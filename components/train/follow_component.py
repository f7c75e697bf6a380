"""KFP component of the train stage, for every iteration of a run."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/train:0.1.0", install_kfp_package=False)
def train(run_uri: str, limits: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Train every iteration, each once its rewards are committed; return the URI of the newest policy.

    `limits` are those of the process that starts the stage, as JSON. The metrics are those of the last iteration.
    """
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits
    from components.runtime.stage_process import follow_stage
    from components.train.iteration_metrics import log_last_iteration

    with exit_on_bad_input():
        follow_stage(run_uri, "train", [], Limits.from_json(limits))
        return log_last_iteration(run_uri, metrics)
