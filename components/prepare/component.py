"""KFP component of the prepare stage."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="rapid-rl/base:0.1.0", install_kfp_package=False)
def prepare(
    config: str,
    run: str,
    model: str,
    data: str,
    iterations: int,
    layout: str,
    max_iterations: int,
    train_job: bool,
    limits: str,
) -> NamedTuple("Prepared", [("run_uri", str), ("shards", list), ("remaining", int)]):
    """Resolve the configuration, bring prompts and base policy into the run.

    Args:
        config: YAML or JSON text.
        run: replaces run.name unless empty.
        model: replaces model.path unless empty.
        data: replaces data.train unless empty.
        iterations: replaces loop.iterations unless negative.
        layout: of the pipeline: workers, pod or tasks.
        max_iterations: how many iterations a pipeline of layout tasks was compiled for.
        train_job: whether it was compiled to train as a job on other nodes.
        limits: of the process that starts the stage, as JSON.
    """
    from typing import NamedTuple

    from components.contract.resolve import parameter_overrides, parse_config
    from components.prepare.run_process import prepare_in_process, refuse_other_layout
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits

    with exit_on_bad_input():
        overrides = parameter_overrides(run, model, data, iterations)
        resolved = parse_config(config, overrides, what="pipeline parameters")
        refuse_other_layout(resolved, layout, max_iterations, train_job)
        run_uri = prepare_in_process(resolved, Limits.from_json(limits))

    class Prepared(NamedTuple):
        run_uri: str
        shards: list
        remaining: int

    shards = [str(shard) for shard in range(resolved.rollout.shards)]
    return Prepared(run_uri, shards, resolved.loop.iterations)
