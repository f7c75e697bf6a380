"""The KFP component of the reward stage."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/reward:0.1.0", install_kfp_package=False)
def reward(run_uri: str, round: str, shard: str, trajectories: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Grade one shard of a round; return the URI of its rewards.

    `trajectories` is the rollout's result; it orders the two tasks and names the input in the KFP graph.
    """
    from components.reward.stage import run_stage
    from components.runtime.guard import exit_on_bad_input
    from components.store import open_run

    with exit_on_bad_input():
        run = open_run(run_uri)
        round_ = run.round(round)
        for key, value in run_stage(run_uri, round_, int(shard)).numbers.items():
            metrics.log_metric(key, value)
        return run.directory(run.layout.reward(round_, int(shard))).uri
