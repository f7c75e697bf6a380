"""KFP component of the rollout stage."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/rollout:0.1.0", install_kfp_package=False)
def rollout(run_uri: str, round: str, shard: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Sample one shard of a round with vLLM; returns where the trajectories are."""
    from components.rollout.stage import run_stage
    from components.runtime.guard import exit_on_bad_input
    from components.store import open_run

    with exit_on_bad_input():
        run = open_run(run_uri)
        round_ = run.round(round)
        for key, value in run_stage(run_uri, round_, int(shard)).numbers.items():
            metrics.log_metric(key, value)
        return run.directory(run.layout.rollout(round_, int(shard))).uri
