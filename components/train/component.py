"""KFP component of the train stage."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/train:0.1.0", install_kfp_package=False)
def train(run_uri: str, iteration: int, rewards: list, metrics: dsl.Output[dsl.Metrics]) -> int:
    """Take one iteration's mini-batch steps; returns how many iterations remain, 0 once the target is reached.

    `rewards` are the reward stages' outputs; they order the tasks and name the inputs in the KFP graph. Pipelined,
    there are none, and the graph itself orders the tasks.
    """
    from components.runtime.guard import exit_on_bad_input
    from components.train.iteration_metrics import log_iteration
    from components.train.stage import run_stage

    with exit_on_bad_input():
        return log_iteration(run_uri, iteration, run_stage(run_uri, iteration), metrics)
