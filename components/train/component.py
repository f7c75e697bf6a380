"""KFP component of the train stage, for one iteration."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/train:0.1.0", install_kfp_package=False)
def train(run_uri: str, iteration: int, rewards: list, limits: str, metrics: dsl.Output[dsl.Metrics]) -> int:
    """Take one iteration's mini-batch steps; return how many iterations remain, 0 once the target is reached.

    Args:
        rewards: the reward stages' outputs; they order the tasks and name the inputs in the KFP graph.
        limits: of the process that starts the stage, as JSON.
    """
    from components.contract.layout import Round
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits
    from components.runtime.task import run_task
    from components.train.iteration_metrics import log_iteration

    with exit_on_bad_input():
        run_task("train", run_uri, Limits.from_json(limits), Round.iteration(iteration))
        return log_iteration(run_uri, iteration, metrics)
