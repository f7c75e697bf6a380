"""KFP component of the rollout stage, for one round."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/rollout:0.1.0", install_kfp_package=False)
def rollout(run_uri: str, round: str, shard: str, limits: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Sample one shard of a round with vLLM; return the URI of its trajectories.

    `limits` are those of the process that starts the stage, as JSON.
    """
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits
    from components.runtime.task import run_task, show_output
    from components.store import open_run

    with exit_on_bad_input():
        run = open_run(run_uri)
        round_ = run.round(round)
        run_task("rollout", run_uri, Limits.from_json(limits), round_, int(shard))
        return show_output(run.directory(run.layout.rollout(round_, int(shard))), metrics)
