"""KFP component of the reward stage, for one round."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/reward:0.1.0", install_kfp_package=False)
def reward(
    run_uri: str, round: str, shard: str, trajectories: str, limits: str, metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Grade one shard of a round; return the URI of its rewards.

    Args:
        trajectories: the rollout's result; it orders the two tasks and names the input in the KFP graph.
        limits: of the process that starts the stage, as JSON.
    """
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits
    from components.runtime.task import run_task, show_output
    from components.store import open_run

    with exit_on_bad_input():
        run = open_run(run_uri)
        round_ = run.round(round)
        run_task("reward", run_uri, Limits.from_json(limits), round_, int(shard))
        return show_output(run.directory(run.layout.reward(round_, int(shard))), metrics)
