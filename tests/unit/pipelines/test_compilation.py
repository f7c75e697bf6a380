from pathlib import Path
from typing import Any

import pytest
import yaml

from components.contract.errors import InputError
from pipelines.cluster.config import ClusterConfig
from pipelines.cluster.parameters import STAGES
from pipelines.compilation import compile_pipeline


def compiled(path: Path, max_iterations: int) -> dict[str, Any]:
    compile_pipeline(path, ClusterConfig(max_iterations=max_iterations))
    spec: dict[str, Any] = next(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    return spec


def tasks(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The tasks of the root and of every component that holds a graph."""
    graphs = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
    return [task for graph in graphs for task in graph["tasks"].values()]


@pytest.mark.parametrize("iterations", [1, 4, 16])
def test_one_condition_per_iteration_each_inside_the_one_before(tmp_path: Path, iterations: int) -> None:
    spec = compiled(tmp_path / "rapid.yaml", iterations)
    conditions = [t for t in tasks(spec) if "triggerPolicy" in t and "condition" in t["triggerPolicy"]]
    assert len(conditions) == iterations
    assert all(t["triggerPolicy"]["condition"].endswith("> 0") for t in conditions)


def test_sixteen_iterations_fit_a_workflow(tmp_path: Path) -> None:
    path = tmp_path / "rapid.yaml"
    compile_pipeline(path, ClusterConfig(max_iterations=16))
    assert path.stat().st_size < 512 * 1024


def test_compiling_twice_gives_the_same_file(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    compile_pipeline(one, ClusterConfig(max_iterations=3))
    compile_pipeline(two, ClusterConfig(max_iterations=3))
    assert one.read_bytes() == two.read_bytes()


def test_what_a_run_is_about_are_parameters_of_the_pipeline(tmp_path: Path) -> None:
    spec = compiled(tmp_path / "rapid.yaml", 2)
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert inputs.keys() == {"config", "run", "model", "data", "iterations", *ClusterConfig().parameters}
    assert inputs["iterations"]["defaultValue"] == -1


def test_no_stage_task_is_cached_and_each_runs_on_its_own_image(tmp_path: Path) -> None:
    spec = compiled(tmp_path / "rapid.yaml", 2)
    executors = spec["deploymentSpec"]["executors"]
    assert {name: executor["container"]["image"] for name, executor in executors.items()} == {
        f"exec-{stage}": f"{{{{$.inputs.parameters['pipelinechannel--{stage}_image']}}}}" for stage in STAGES
    }
    defaults = {stage: ClusterConfig().parameters[f"{stage}_image"] for stage in STAGES}
    assert defaults == {
        "prepare": "rapid-rl/base:0.1.0",
        "rollout": "rapid-rl/rollout:0.1.0",
        "reward": "rapid-rl/reward:0.1.0",
        "train": "rapid-rl/train:0.1.0",
        "publish": "rapid-rl/base:0.1.0",
    }
    stages = {name for name, c in spec["components"].items() if "executorLabel" in c}
    running = [t for t in tasks(spec) if t["componentRef"]["name"] in stages]
    assert running
    assert not any(t.get("cachingOptions", {}).get("enableCache") for t in running)


def test_nothing_large_is_an_artifact(tmp_path: Path) -> None:
    spec = compiled(tmp_path / "rapid.yaml", 2)
    artifacts = {
        artifact["artifactType"]["schemaTitle"]
        for component in spec["components"].values()
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values()
    }
    assert artifacts == {"system.Metrics", "system.HTML"}


def test_a_name_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.yaml"):
        compile_pipeline(tmp_path / "rapid.txt", ClusterConfig(max_iterations=2))
