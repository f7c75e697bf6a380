"""KFP face of the train stage."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/train:0.1.0", install_kfp_package=False)
def train(run_uri: str, iteration: int, rewards: list, metrics: dsl.Output[dsl.Metrics]) -> int:
    """Take one iteration's mini-batch steps; returns how many iterations remain, 0 once the target is reached.

    `rewards` are the reward stages' answers; they order the tasks and name the inputs in the KFP graph. Pipelined,
    there are none, and the graph itself orders the tasks.
    """
    from components.results import evaluation_values, iteration_values, read_iteration
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.progress import emit
    from components.store import open_run
    from components.tracking import sync
    from components.train.stage import run

    with exit_on_bad_input():
        manifest = run(run_uri, iteration)
        current = open_run(run_uri)
        found = read_iteration(current, iteration)
        assert found is not None
        values = {**manifest.numbers, **iteration_values(found), **evaluation_values(found.round)}
        for key, value in values.items():
            metrics.log_metric(key, value)
        sync(current)
        emit("iteration", number=iteration)
        if manifest.facts["outcome"] == "target_reached":
            return 0
        return current.config.loop.iterations - iteration
