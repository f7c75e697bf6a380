"""The one definition of the pipeline, for a cluster and for one machine.

KFP has no loop with state. A chain of nested If blocks stands for it: block k runs iteration k if any remain
and holds block k + 1. Nothing can leave an If block, so what follows the chain reads the run's manifests.
"""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.pipeline_channel import PipelineParameterChannel
from kfp.dsl.pipeline_task import PipelineTask

from components.contract.layout import Round
from components.prepare.component import prepare
from components.publish.component import publish
from components.reward.component import reward
from components.rollout.component import rollout
from components.train.component import train
from pipelines.cluster.config import ClusterConfig

NAME = "rapid"


def _uncached(task: PipelineTask, display_name: str) -> PipelineTask:
    """Stages skip what is committed in the run; KFP's cache knows nothing of the run and would skip wrongly."""
    return task.set_caching_options(False).set_display_name(display_name)


def _iteration(parallel_shards: int) -> BaseComponent:
    @dsl.pipeline(name="iteration")
    def iteration(run_uri: str, round: str, number: int, shards: list) -> int:
        """Rollout and reward per shard, then train; returns how many iterations remain."""
        rewards = _sampled(run_uri, round, shards, parallel_shards)
        updated = _uncached(train(run_uri=run_uri, iteration=number, rewards=rewards), "train")
        return updated.outputs["Output"]

    return iteration


def _evaluation(parallel_shards: int) -> BaseComponent:
    @dsl.pipeline(name="evaluation")
    def evaluation(run_uri: str, shards: list):
        """Sample and score the held-out prompts with the newest policy, then publish it."""
        rewards = _sampled(run_uri, "final", shards, parallel_shards)
        _uncached(publish(run_uri=run_uri, rewards=rewards), "publish")

    return evaluation


def _sampled(run_uri: str, round: str, shards: list, parallel_shards: int) -> dsl.Collected:
    """Rollout and reward of every shard; what the reward stages answer."""
    with dsl.ParallelFor(shards, name="shards", parallelism=parallel_shards) as shard:
        trajectories = _uncached(rollout(run_uri=run_uri, round=round, shard=shard), "rollout")
        rewards = _uncached(
            reward(run_uri=run_uri, round=round, shard=shard, trajectories=trajectories.output), "reward"
        )
    return dsl.Collected(rewards.output)


def rapid_pipeline(cluster: ClusterConfig) -> BaseComponent:
    """The pipeline for up to `cluster.max_iterations`; how many are run is decided when it runs."""
    max_iterations = cluster.max_iterations
    iteration, evaluation = _iteration(cluster.parallel_shards), _evaluation(cluster.parallel_shards)

    def _chain(
        run_uri: PipelineParameterChannel, shards: PipelineParameterChannel, remaining: PipelineParameterChannel, k: int
    ) -> None:
        with dsl.If(remaining > 0, name=f"iteration-{k}"):
            step = iteration(run_uri=run_uri, round=str(Round.iteration(k)), number=k, shards=shards)
            step.set_display_name(f"iteration {k}")
            if k < max_iterations:
                _chain(run_uri, shards, step.output, k + 1)

    @dsl.pipeline(name="loop")
    def loop(run_uri: str, shards: list, remaining: int):
        _chain(run_uri, shards, remaining, 1)

    @dsl.pipeline(name=NAME, description="RAPID: large batches of rollouts, many importance-weighted updates")
    def rapid(config: str, run: str = "", model: str = "", data: str = "", iterations: int = -1):
        """Fine-tune a policy.

        Args:
            config: the run's configuration, YAML or JSON text.
            run: replaces run.name unless empty.
            model: replaces model.path unless empty.
            data: replaces data.train unless empty.
            iterations: replaces loop.iterations unless negative; 0 evaluates only.
        """
        prepared = _uncached(
            prepare(
                config=config,
                run=run,
                model=model,
                data=data,
                iterations=iterations,
                max_iterations=max_iterations,
            ),
            "prepare",
        )
        run_uri, shards = prepared.outputs["run_uri"], prepared.outputs["shards"]
        iterated = loop(run_uri=run_uri, shards=shards, remaining=prepared.outputs["remaining"])
        iterated.set_display_name("iterations")
        evaluated = evaluation(run_uri=run_uri, shards=shards).after(iterated)
        evaluated.set_display_name("evaluate and publish")

    return rapid
