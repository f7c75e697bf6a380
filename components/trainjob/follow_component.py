"""KFP component of the train stage, done by a training job, for every iteration of a run."""

from kfp import dsl


@dsl.component(base_image="rapid-rl/base:0.1.0", install_kfp_package=False)
def train_job(
    run_uri: str,
    image: str,
    cpu: str,
    memory: str,
    accelerator: str,
    accelerators: str,
    resources: dict,
    node_selector: dict,
    tolerations: list,
    cache: str,
    runtime: str,
    deadline_minutes: int,
    limits: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Train every iteration on other nodes, in one job; return the URI of the newest policy.

    Args:
        image: of the training pods. This pod launches them, and needs neither their image nor their resources.
        cpu: cores of each node.
        memory: of each node.
        accelerator: type, such as nvidia.com/gpu; empty for none.
        accelerators: number of them on each node.
        resources: more that each node is asked for.
        node_selector: labels that the nodes must have.
        tolerations: taints that the nodes may have.
        cache: volume claim for compiled code; empty for none.
        runtime: TrainingRuntime in this namespace.
        deadline_minutes: an iteration that takes longer fails the job.
        limits: of the process that starts the launcher, as JSON.
    """
    from components.runtime.guard import exit_on_bad_input
    from components.runtime.parent import Limits
    from components.train.iteration_metrics import log_last_iteration
    from components.trainjob.job_settings import JobSettings
    from components.trainjob.run_process import launch_in_process

    with exit_on_bad_input():
        settings = JobSettings.from_task(
            cpu,
            memory,
            accelerator,
            accelerators,
            resources,
            image=image,
            runtime=runtime,
            node_selector=node_selector,
            tolerations=tolerations,
            cache_claim=cache,
            deadline_seconds=60 * deadline_minutes,
        )
        launch_in_process(run_uri, None, settings, Limits.from_json(limits))
        return log_last_iteration(run_uri, metrics)
