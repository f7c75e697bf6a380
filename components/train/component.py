"""KFP face of the train stage."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/train:0.1.0", install_kfp_package=False)
def train(run_uri: str, iteration: int, rewards: list, metrics: dsl.Output[dsl.Metrics]) -> int:
    """Take one iteration's mini-batch steps; returns how many iterations remain, 0 once the target is reached.

    `rewards` are the reward stages' answers; they order the tasks and name the inputs in the KFP graph.
    """
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.progress import emit
    from components.store import open_run
    from components.tracking import sync
    from components.train.stage import run

    with exit_on_bad_input():
        manifest = run(run_uri, iteration)
        for key, value in manifest.facts.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                metrics.log_metric(key, float(value))
        current = open_run(run_uri)
        sync(current)
        emit("iteration", number=iteration)
        if manifest.facts["outcome"] == "target_reached":
            return 0
        return current.config.loop.iterations - iteration
