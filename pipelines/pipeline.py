"""The definition of the pipeline, for clusters and for one machine.

In the layouts `workers` and `pod` it has the same few tasks for any number of iterations: after prepare each stage, for
each shard, works for the whole run, or one pod does the work of all; publish follows.

In layout `tasks` every stage of every iteration is a task. KFP has no loop with state, so the loop is a chain of nested
If blocks: block k runs iteration k if iterations remain and contains block k + 1. No value can leave an If block, so
the tasks after the chain read the run's manifests.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.pipeline_task import PipelineTask

from components.contract.layout import Round
from components.pod.component import pod
from components.prepare.component import prepare
from components.publish.component import publish
from components.reward.component import reward
from components.reward.follow_component import reward as follow_reward
from components.rollout.component import rollout
from components.rollout.follow_component import rollout as follow_rollout
from components.train.component import train
from components.train.follow_component import train as follow_train
from pipelines.cluster.cluster_config import PODS, ClusterConfig
from pipelines.cluster.cluster_sections import PodName
from pipelines.cluster.placement import Channels, launch_train_job, place

NAME = "rapid"
SUMMARY = (
    "RAPID: fine-tunes a language model by reinforcement learning. Each iteration samples a large batch of "
    "completions, grades them and takes many importance-weighted updates; the results are in object storage, MLflow "
    "and the report."
)
# kfp.local knows no time at which a job is due, and one machine's run needs no name of its own.
_NO_JOB = {"job": "", "job_name": "", "due": ""}
_JOB = {
    "job": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    "job_name": dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    "due": dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
}


@dataclass(frozen=True)
class PipelineParameter:
    """A parameter of a KFP pipeline; its type is what KFP would read from an annotation."""

    name: str
    type: type
    default: Any = inspect.Parameter.empty
    description: str = ""


_RUN_URI = PipelineParameter("run_uri", str)
_SHARDS = PipelineParameter("shards", list)
_ROUND = PipelineParameter("round", str)
_NUMBER = PipelineParameter("number", int)
_REMAINING = PipelineParameter("remaining", int)
_RUN_PARAMETERS = (
    PipelineParameter("config", str, description="the configuration: YAML or JSON text, or s3://bucket/my.yaml"),
    PipelineParameter(
        "run",
        str,
        "",
        "name of the run. Empty: a new run, named after the configuration's and the job. The name of a run that "
        "exists: it goes on. For a recurring run empty or NAME-{due}, where {due} becomes the time of each start",
    ),
    PipelineParameter("model", str, "", "base model in place of model.path, unless empty"),
    PipelineParameter("data", str, "", "prompts in place of data.train, unless empty"),
    PipelineParameter("iterations", int, -1, "in place of loop.iterations, unless negative; 0 evaluates only"),
)
_SAMPLING: tuple[PodName, ...] = ("rollout", "reward")


def rapid_pipeline(cluster: ClusterConfig) -> BaseComponent:
    """Return the pipeline of the layout that the settings name; a run sets its own number of iterations."""
    body = {"workers": _workers, "pod": _pod, "tasks": _tasks}[cluster.layout](cluster)

    def rapid(config: Any, run: Any, model: Any, data: Any, iterations: Any, **channels: Any) -> None:
        prepared = prepare(
            config=config,
            run=run,
            model=model,
            data=data,
            iterations=iterations,
            **(_JOB if cluster.in_kubeflow else _NO_JOB),
            layout=cluster.layout,
            max_iterations=cluster.max_iterations if cluster.layout == "tasks" else 0,
            train_job=cluster.train_job is not None,
            limits=cluster.limits("prepare"),
        )
        body(_task(prepared, "prepare", cluster, channels), channels)

    own = cluster.parameters_of(PODS[cluster.layout])
    parameters = [*_RUN_PARAMETERS, *(PipelineParameter(p.name, str, p.default, p.description) for p in own)]
    pipeline = _with_parameters(rapid, parameters, SUMMARY)
    # Kubeflow's pages show this description, and none of a parameter.
    lines = [SUMMARY, "", "Parameters:", *(f"- {p.name}: {p.description}." for p in parameters)]
    return dsl.pipeline(name=NAME, description="\n".join(lines))(pipeline)


Body = Callable[[PipelineTask, Channels], None]


def _workers(cluster: ClusterConfig) -> Body:
    """Build a task for each stage and shard, all side by side, and publish after them."""

    def workers(prepared: PipelineTask, channels: Channels) -> None:
        run_uri = prepared.outputs["run_uri"]
        with dsl.ParallelFor(prepared.outputs["shards"], name="shards") as shard:
            sampling = follow_rollout(run_uri=run_uri, shard=shard, limits=cluster.limits("rollout"))
            _task(sampling, "rollout", cluster, channels)
            grading = follow_reward(run_uri=run_uri, shard=shard, limits=cluster.limits("reward"))
            _task(grading, "reward", cluster, channels)
        if cluster.train_job:
            trained = _display(launch_train_job(run_uri, None, None, cluster, channels), "train")
        else:
            training = follow_train(run_uri=run_uri, limits=cluster.limits("train"))
            trained = _task(training, "train", cluster, channels)
        _publish(run_uri, dsl.Collected(grading.outputs["Output"]), cluster, channels).after(trained)

    return workers


def _pod(cluster: ClusterConfig) -> Body:
    """Build one task that does the work of all stages between prepare and publish."""

    def one_pod(prepared: PipelineTask, channels: Channels) -> None:
        run_uri = prepared.outputs["run_uri"]
        worked = _task(pod(run_uri=run_uri, limits=cluster.limits("pod")), "pod", cluster, channels)
        _publish(run_uri, [], cluster, channels).after(worked)

    return one_pod


def _tasks(cluster: ClusterConfig) -> Body:
    """Build the chain of iterations, and the evaluation of what comes out of it."""
    loop, evaluation = _loop(cluster), _evaluation(cluster)

    def tasks(prepared: PipelineTask, channels: Channels) -> None:
        run = {name: prepared.outputs[name] for name in ("run_uri", "shards")}
        iterated = _nested(loop, "iterations", channels, **run, remaining=prepared.outputs["remaining"])
        _nested(evaluation, "evaluate and publish", channels, **run).after(iterated)

    return tasks


def _loop(cluster: ClusterConfig) -> BaseComponent:
    iteration = _iteration(cluster)

    def chain(k: int, remaining: Any, channels: Channels, **run: Any) -> None:
        with dsl.If(remaining > 0, name=f"from iteration {k} on"):
            round_ = str(Round.iteration(k))
            step = _nested(iteration, f"iteration {k}", channels, **run, round=round_, number=k)
            if k < cluster.max_iterations:
                chain(k + 1, step.output, channels, **run)

    def loop(run_uri: Any, shards: Any, remaining: Any, **channels: Any) -> None:
        chain(1, remaining, channels, run_uri=run_uri, shards=shards)

    return _pipeline(loop, [_RUN_URI, _SHARDS, _REMAINING], cluster, (*_SAMPLING, "train"))


def _iteration(cluster: ClusterConfig) -> BaseComponent:
    """Build an iteration: rollout and reward per shard, then train. It outputs how many iterations remain."""

    def iteration(run_uri: Any, shards: Any, round: Any, number: Any, **channels: Any) -> Any:
        rewards = _sample(run_uri, round, shards, cluster, channels)
        return _train(run_uri, number, rewards, cluster, channels).outputs["Output"]

    return _pipeline(iteration, [_RUN_URI, _SHARDS, _ROUND, _NUMBER], cluster, (*_SAMPLING, "train"), returns=int)


def _evaluation(cluster: ClusterConfig) -> BaseComponent:
    """Build the final evaluation: sample and score the held-out prompts with the newest policy, then publish it."""

    def evaluation(run_uri: Any, shards: Any, **channels: Any) -> None:
        rewards = _sample(run_uri, "final", shards, cluster, channels)
        _publish(run_uri, rewards, cluster, channels)

    return _pipeline(evaluation, [_RUN_URI, _SHARDS], cluster, (*_SAMPLING, "publish"))


def _sample(run_uri: Any, round: Any, shards: Any, cluster: ClusterConfig, channels: Channels) -> dsl.Collected:
    """Add the rollout and reward of every shard; return the outputs of the reward stages."""
    with dsl.ParallelFor(shards, name="rollout shards", parallelism=cluster.parallel_shards) as shard:
        sampling = rollout(run_uri=run_uri, round=round, shard=shard, limits=cluster.limits("rollout"))
        trajectories = _task(sampling, "rollout", cluster, channels).outputs["Output"]
        grading = reward(
            run_uri=run_uri, round=round, shard=shard, trajectories=trajectories, limits=cluster.limits("reward")
        )
        _task(grading, "reward", cluster, channels)
    return dsl.Collected(grading.outputs["Output"])


def _train(run_uri: Any, number: Any, rewards: Any, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    if cluster.train_job:
        return _display(launch_train_job(run_uri, number, rewards, cluster, channels), "train")
    task = train(run_uri=run_uri, iteration=number, rewards=rewards, limits=cluster.limits("train"))
    return _task(task, "train", cluster, channels)


def _publish(run_uri: Any, rewards: Any, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    task = publish(run_uri=run_uri, rewards=rewards, limits=cluster.limits("publish"))
    return _task(task, "publish", cluster, channels)


def _task(task: PipelineTask, pod_name: PodName, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    return _display(place(task, pod_name, cluster, channels), pod_name)


def _display(task: PipelineTask, name: str) -> PipelineTask:
    """Name a task and disable KFP's cache, which does not know what is committed in the run; stages do."""
    return task.set_caching_options(False).set_display_name(name)


def _nested(pipeline: BaseComponent, name: str, channels: Channels, **arguments: Any) -> PipelineTask:
    """Add a nested pipeline with those of the cluster's parameters that it needs."""
    needed = {key: value for key, value in channels.items() if key in pipeline.component_spec.inputs}
    return _display(pipeline(**arguments, **needed), name)


def _pipeline(
    body: Callable[..., Any],
    own: Sequence[PipelineParameter],
    cluster: ClusterConfig,
    pods: tuple[PodName, ...],
    returns: type | None = None,
) -> BaseComponent:
    """Return a nested pipeline with its own parameters and the cluster's parameters that its pods need."""
    channels = [PipelineParameter(p.name, str) for p in cluster.parameters_of(pods)]
    function = _with_parameters(body, [*own, *channels], "", returns)
    return dsl.pipeline(name=body.__name__)(function)


def _with_parameters(
    body: Callable[..., Any], parameters: Sequence[PipelineParameter], summary: str, returns: type | None = None
) -> Callable[..., Any]:
    """Return a function for `dsl.pipeline` that passes every parameter to `body` by name."""

    def pipeline(*values: Any) -> Any:
        return body(**dict(zip((parameter.name for parameter in parameters), values, strict=True)))

    pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(p.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=p.default, annotation=p.type)
            for p in parameters
        ],
        return_annotation=inspect.Parameter.empty if returns is None else returns,
    )
    described = [f"    {p.name}: {p.description}" for p in parameters if p.description]
    pipeline.__doc__ = "\n".join([summary, *(["", "Args:", *described] if described else [])])
    return pipeline
