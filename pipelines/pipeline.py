"""The definition of the pipeline, for clusters and for one machine.

KFP has no loop with state, so the loop is a chain of nested If blocks: block k runs iteration k if iterations remain
and contains block k + 1. No value can leave an If block, so the tasks after the chain read the run's manifests.

In a pipelined loop block k trains on what was sampled before it and samples iteration k + 1 at the same time.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.pipeline_task import PipelineTask

from components.contract.layout import Round
from components.contract.section import StageName
from components.prepare.component import prepare
from components.publish.component import publish
from components.reward.component import reward
from components.rollout.component import rollout
from components.train.component import train
from pipelines.cluster.cluster_config import STAGES, ClusterConfig
from pipelines.cluster.placement import Channels, launch_train_job, place

NAME = "rapid"


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
    PipelineParameter("config", str, description="the run's configuration, YAML or JSON text."),
    PipelineParameter("run", str, "", "replaces run.name unless empty."),
    PipelineParameter("model", str, "", "replaces model.path unless empty."),
    PipelineParameter("data", str, "", "replaces data.train unless empty."),
    PipelineParameter("iterations", int, -1, "replaces loop.iterations unless negative; 0 evaluates only."),
)
_SAMPLING: tuple[StageName, ...] = ("rollout", "reward")


def rapid_pipeline(cluster: ClusterConfig) -> BaseComponent:
    """Return the pipeline for up to `cluster.max_iterations` iterations; a run sets its own number."""
    loop = _pipelined_loop(cluster) if cluster.pipelined else _loop(cluster)
    evaluation = _evaluation(cluster)

    def rapid(config: Any, run: Any, model: Any, data: Any, iterations: Any, **channels: Any) -> None:
        prepared = prepare(
            config=config,
            run=run,
            model=model,
            data=data,
            iterations=iterations,
            max_iterations=cluster.max_iterations,
            pipelined=cluster.pipelined,
            train_job=cluster.train_job is not None,
        )
        _task(prepared, "prepare", cluster, channels)
        run_uri, shards = prepared.outputs["run_uri"], prepared.outputs["shards"]
        iterated = _nested(
            loop, "iterations", channels, run_uri=run_uri, shards=shards, remaining=prepared.outputs["remaining"]
        )
        evaluated = _nested(evaluation, "evaluate and publish", channels, run_uri=run_uri, shards=shards)
        evaluated.after(iterated)

    pipeline = _with_parameters(rapid, [*_RUN_PARAMETERS, *_cluster_parameters(cluster, STAGES)], "Fine-tune a policy.")
    describe = dsl.pipeline(name=NAME, description="RAPID: large batches of rollouts, many importance-weighted updates")
    return describe(pipeline)


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


def _pipelined_loop(cluster: ClusterConfig) -> BaseComponent:
    sampling = _sampling(cluster)

    def sample(k: int, iterations: Any, channels: Channels, **run: Any) -> PipelineTask:
        round_ = str(Round.iteration(k))
        return _nested(sampling, f"sample {k}", channels, **run, round=round_, number=k, iterations=iterations)

    def chain(
        k: int, ready: PipelineTask, remaining: Any, iterations: Any, channels: Channels, run_uri: Any, shards: Any
    ) -> None:
        with dsl.If(remaining > 0, name=f"from iteration {k} on"):
            # The block waits for `ready`, so that two iterations are never sampled at the same time.
            trained = _train(run_uri, k, [], cluster, channels).after(ready).set_display_name(f"train {k}")
            if k < cluster.max_iterations:
                ahead = sample(k + 1, iterations, channels, run_uri=run_uri, shards=shards)
                chain(k + 1, ahead, trained.outputs["Output"], iterations, channels, run_uri, shards)

    def loop(run_uri: Any, shards: Any, remaining: Any, **channels: Any) -> None:
        first = sample(1, remaining, channels, run_uri=run_uri, shards=shards)
        chain(1, first, remaining, remaining, channels, run_uri, shards)

    return _pipeline(loop, [_RUN_URI, _SHARDS, _REMAINING], cluster, (*_SAMPLING, "train"))


def _sampling(cluster: ClusterConfig) -> BaseComponent:
    """Build the rollout and reward of an iteration, which is skipped if the run has fewer iterations."""

    def sampling(run_uri: Any, shards: Any, round: Any, number: Any, iterations: Any, **channels: Any) -> None:
        with dsl.If(number <= iterations, name="if the run has it"):
            _sample(run_uri, round, shards, cluster, channels)

    own = [_RUN_URI, _SHARDS, _ROUND, _NUMBER, PipelineParameter("iterations", int)]
    return _pipeline(sampling, own, cluster, _SAMPLING)


def _evaluation(cluster: ClusterConfig) -> BaseComponent:
    """Build the final evaluation: sample and score the held-out prompts with the newest policy, then publish it."""

    def evaluation(run_uri: Any, shards: Any, **channels: Any) -> None:
        rewards = _sample(run_uri, "final", shards, cluster, channels)
        _task(publish(run_uri=run_uri, rewards=rewards), "publish", cluster, channels)

    return _pipeline(evaluation, [_RUN_URI, _SHARDS], cluster, (*_SAMPLING, "publish"))


def _sample(run_uri: Any, round: Any, shards: Any, cluster: ClusterConfig, channels: Channels) -> dsl.Collected:
    """Add the rollout and reward of every shard; return the outputs of the reward stages."""
    with dsl.ParallelFor(shards, name="rollout shards", parallelism=cluster.parallel_shards) as shard:
        trajectories = _task(rollout(run_uri=run_uri, round=round, shard=shard), "rollout", cluster, channels)
        scored = reward(run_uri=run_uri, round=round, shard=shard, trajectories=trajectories.outputs["Output"])
        rewards = _task(scored, "reward", cluster, channels)
    return dsl.Collected(rewards.outputs["Output"])


def _train(run_uri: Any, number: Any, rewards: Any, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    if cluster.train_job:
        return _display(launch_train_job(run_uri, number, rewards, cluster, channels), "train")
    task = train(run_uri=run_uri, iteration=number, rewards=rewards)
    return _task(task, "train", cluster, channels)


def _task(task: PipelineTask, stage: StageName, cluster: ClusterConfig, channels: Channels) -> PipelineTask:
    return _display(place(task, stage, cluster, channels), stage)


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
    stages: tuple[StageName, ...],
    returns: type | None = None,
) -> BaseComponent:
    """Return a nested pipeline with its own parameters and the cluster's parameters that its stages need."""
    function = _with_parameters(body, [*own, *_cluster_parameters(cluster, stages, defaults=False)], "", returns)
    return dsl.pipeline(name=body.__name__)(function)


def _cluster_parameters(
    cluster: ClusterConfig, stages: tuple[StageName, ...], defaults: bool = True
) -> list[PipelineParameter]:
    given = cluster.parameters_of(stages)
    if not defaults:
        return [PipelineParameter(p.name, type(p.default)) for p in given]
    return [PipelineParameter(p.name, type(p.default), p.default, p.description) for p in given]


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
