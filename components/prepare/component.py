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
    max_iterations: int,
    pipelined: bool,
    train_job: bool,
) -> NamedTuple("Prepared", [("run_uri", str), ("shards", list), ("remaining", int)]):
    """Resolve the configuration, bring prompts and base policy into the run.

    Args:
        config: YAML or JSON text.
        run: replaces run.name unless empty.
        model: replaces model.path unless empty.
        data: replaces data.train unless empty.
        iterations: replaces loop.iterations unless negative.
        max_iterations: how many iterations the pipeline was compiled for.
        pipelined: whether it was compiled to sample for the next iteration while one trains.
        train_job: whether it was compiled to train as a job on other nodes.
    """
    from typing import NamedTuple

    from components.contract.errors import InputError
    from components.contract.resolve import parameter_overrides, parse_config
    from components.prepare.stage import run_stage
    from components.runtime.guard import exit_on_bad_input

    with exit_on_bad_input():
        overrides = parameter_overrides(run, model, data, iterations)
        resolved = parse_config(config, overrides, what="pipeline parameters")
        if resolved.loop.iterations > max_iterations:
            raise InputError(
                f"loop.iterations = {resolved.loop.iterations}, but this pipeline was compiled for at most "
                f"{max_iterations}; compile it with a larger --max-iterations"
            )
        if resolved.loop.staleness != int(pipelined):
            raise InputError(
                f"loop.staleness = {resolved.loop.staleness}, but this pipeline was compiled "
                f"{'with' if pipelined else 'without'} --pipelined; loop.staleness=1 goes with --pipelined"
            )
        if resolved.train.nodes > 1 and not train_job:
            raise InputError(
                f"train.nodes = {resolved.train.nodes}, but this pipeline was compiled to train in one pod; compile it "
                "with --train-job"
            )
        prepared = run_stage(resolved)

    class Prepared(NamedTuple):
        run_uri: str
        shards: list
        remaining: int

    return Prepared(prepared.run_uri, prepared.shards, resolved.loop.iterations)
