"""The size of a run in layout tasks against Argo's limit."""

from pathlib import Path

import pytest

from components.contract.errors import InputError
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.cluster.workflow_size import LIMIT, largest_run, nodes_size, refuse_too_large, specification_size


def pipeline(folder: Path, size: int) -> Path:
    path = folder / "rapid.yaml"
    path.write_bytes(b"x" * size)
    return path


@pytest.mark.parametrize(("yaml", "measured"), [(97_905, 161_281), (240_616, 392_000)])
def test_a_specification_is_at_least_as_large_as_the_measured_ones(tmp_path: Path, yaml: int, measured: int) -> None:
    assert 1.0 <= specification_size(pipeline(tmp_path, yaml)) / measured < 1.02


def test_nodes_are_at_least_as_large_as_the_measured_ones() -> None:
    assert nodes_size(2, 1) >= 112_000
    assert 849_000 - 392_000 <= nodes_size(16, 1) < 1.15 * (849_000 - 392_000)


def test_the_largest_run_fits_and_the_next_does_not(tmp_path: Path) -> None:
    path = pipeline(tmp_path, 240_000)
    for shards in (1, 2, 8):
        most = largest_run(path, shards)
        sizes = [specification_size(path) + nodes_size(count, shards) for count in (most, most + 1)]
        assert sizes[0] <= LIMIT < sizes[1]
    assert largest_run(pipeline(tmp_path, 10**6), 1) == -1


def test_a_pipeline_for_more_is_refused_and_removed(tmp_path: Path) -> None:
    path = pipeline(tmp_path, 400_000)
    cluster = ClusterConfig(layout="tasks", max_iterations=30)
    with pytest.raises(InputError, match=r"holds 11 iterations of one shard; lower it, or use layout workers or pod"):
        refuse_too_large(path, cluster)
    assert not path.exists()
    refuse_too_large(pipeline(tmp_path, 400_000), ClusterConfig(max_iterations=30))
