"""The size of a run in layout tasks as Argo stores it: specification and, compressed, the nodes.

Measured on Kubeflow Pipelines 2.17 with Argo 4.0.5: pipelines whose YAML has 98 and 241 kB become specifications of 161
and 392 kB. The nodes of two iterations and the evaluation have 112 kB, each further iteration 28 kB. Half of an
iteration's nodes, with two of its three stages, belong to its one shard: 19 kB are added for every further shard, an
estimate. These pipelines had more parameters than today's, whose nodes are smaller.
"""

from pathlib import Path

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.runtime.scratch import scratch_directory
from pipelines.cluster.cluster_config import ClusterConfig

LIMIT = 2**20
_SPECIFICATION_PER_BYTE = 1.65
_FIRST_NODES, _FIRST_ITERATIONS = 112_000, 2
_ITERATION_NODES, _SHARD_NODES = 28_000, 19_000


def specification_size(pipeline: Path) -> int:
    """Return the bytes of a workflow's specification, from the size of the compiled YAML."""
    return round(_SPECIFICATION_PER_BYTE * pipeline.stat().st_size)


def nodes_size(iterations: int, shards: int) -> int:
    """Return the bytes of a workflow's compressed nodes after so many iterations and the evaluation."""
    further = max(0, iterations - _FIRST_ITERATIONS)
    return _FIRST_NODES + _ITERATION_NODES * further + _SHARD_NODES * (shards - 1) * (iterations + 1)


def largest_run(pipeline: Path, shards: int) -> int:
    """Return the most iterations that fit beside the specification of a pipeline; -1 if not even an evaluation."""
    room = LIMIT - specification_size(pipeline)
    iterations = -1
    while nodes_size(iterations + 1, shards) <= room:
        iterations += 1
    return iterations


def iterations_that_fit(cluster: ClusterConfig, config: RunConfig) -> int:
    """Return the most iterations of a run that uses the pipeline of these settings, which is compiled for it."""
    from pipelines import compilation

    with scratch_directory("rapid-size-") as scratch:
        file = scratch / "rapid.yaml"
        compilation.compile_pipeline(cluster).with_config(config).write(file)
        return min(cluster.max_iterations, largest_run(file, config.rollout.shards))


def refuse_too_large(pipeline: Path, cluster: ClusterConfig) -> None:
    """Remove and refuse a pipeline of layout tasks whose most iterations do not fit, even with one shard.

    Raises:
        InputError: they do not.
    """
    if cluster.layout != "tasks" or (most := largest_run(pipeline, 1)) >= cluster.max_iterations:
        return
    pipeline.unlink()
    raise InputError(
        f"max_iterations = {cluster.max_iterations} in layout tasks: beside that specification Argo's limit of 1 MiB "
        f"holds {max(most, 0)} iterations of one shard; lower it, or use layout workers or pod, which have no limit"
    )
