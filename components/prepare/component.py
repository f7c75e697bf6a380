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
    job: str,
    job_name: str,
    due: str,
    layout: str,
    max_iterations: int,
    train_job: bool,
    limits: str,
) -> NamedTuple("Prepared", [("run_uri", str), ("shards", list), ("remaining", int)]):
    """Resolve the configuration, bring prompts and base policy into the run.

    Args:
        config: YAML or JSON text, or s3://bucket/my.yaml.
        run: name of the run; empty for a name of its own, and {due} in it stands for when the job is due.
        model: replaces model.path unless empty.
        data: replaces data.train unless empty.
        iterations: replaces loop.iterations unless negative.
        job: Kubeflow's ID of this pipeline run; empty on one machine.
        job_name: what Kubeflow calls it.
        due: when it was to start, such as 2026-11-28T18:57:00Z.
        layout: of the pipeline: workers, pod or tasks.
        max_iterations: how many iterations a pipeline of layout tasks was compiled for.
        train_job: whether it was compiled to train as a job on other nodes.
        limits: of the process that starts the stage, as JSON.
    """
    from typing import NamedTuple

    from components.contract.job import Job
    from components.prepare.job_config import job_config
    from components.prepare.run_process import prepare_in_process, refuse_other_layout
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits

    with exit_on_bad_input():
        started_by = Job(job, job_name, due)
        resolved = job_config(config, run, model, data, iterations, started_by)
        refuse_other_layout(resolved, layout, max_iterations, train_job)
        run_uri = prepare_in_process(resolved, started_by, Limits.from_json(limits))

    class Prepared(NamedTuple):
        run_uri: str
        shards: list
        remaining: int

    shards = [str(shard) for shard in range(resolved.rollout.shards)]
    return Prepared(run_uri, shards, resolved.loop.iterations)
