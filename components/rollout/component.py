"""KFP face of the rollout stage."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/rollout:0.1.0", install_kfp_package=False)
def rollout(run_uri: str, round: str, shard: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Sample one shard of a round with vLLM; returns where the trajectories are."""
    from components.rollout.stage import run
    from components.runtime.guard import exit_on_bad_input
    from components.store import open_run

    with exit_on_bad_input():
        current = open_run(run_uri)
        at = current.round(round)
        for key, value in run(run_uri, at, int(shard)).numbers.items():
            metrics.log_metric(key, value)
        return current.directory(current.layout.rollout(at, int(shard))).uri
