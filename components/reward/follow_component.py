"""KFP component of the reward stage, for every round of a run."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/reward:0.1.0", install_kfp_package=False)
def reward(run_uri: str, shard: str, limits: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Grade one shard of every round; return the URI of the last rewards.

    `limits` are those of the process that starts the stage, as JSON. The metrics are those of the last round.
    """
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits
    from components.runtime.stage_process import follow_stage
    from components.runtime.task import show_output
    from components.store import open_run

    with exit_on_bad_input():
        follow_stage(run_uri, "reward", [int(shard)], Limits.from_json(limits))
        run = open_run(run_uri)
        return show_output(run.directory(run.layout.reward(run.final_round(), int(shard))), metrics)
