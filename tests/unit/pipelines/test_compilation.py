"""The graph that is compiled: iterations, names, parameters, artifacts, size."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.contract.errors import InputError
from pipelines.cluster.cluster_config import STAGES, ClusterConfig
from pipelines.compilation import compile_pipeline
from tests.support.compiled import Compiled, compiled

Compile = Callable[..., Compiled]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Up to two iterations."""
    return compiled(tmp_path_factory.mktemp("two") / "rapid.yaml", ClusterConfig(max_iterations=2))


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(tmp_path_factory.mktemp("sixteen") / "rapid.yaml", ClusterConfig())


@pytest.fixture(scope="module")
def pipelined(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Up to three iterations."""
    return compiled(
        tmp_path_factory.mktemp("pipelined") / "rapid.yaml", ClusterConfig(max_iterations=3, pipelined=True)
    )


def test_one_condition_per_iteration_each_inside_the_one_before(sixteen: Compiled) -> None:
    conditions = [task for _, task in sixteen.tasks() if "triggerPolicy" in task]
    assert len(conditions) == 16
    assert all(task["triggerPolicy"]["condition"].endswith("> 0") for task in conditions)
    for number in range(1, 16):
        held = sixteen.graphs[f"comp-condition-{number}"]["dag"]["tasks"]
        assert f"condition-{number + 1}" in held


def test_sixteen_iterations_fit_a_workflow(sixteen: Compiled, tmp_path: Path) -> None:
    assert len(sixteen.text.encode()) < 512 * 1024
    compile_pipeline(tmp_path / "rapid.yaml", ClusterConfig(pipelined=True))
    assert (tmp_path / "rapid.yaml").stat().st_size < 512 * 1024


def test_every_stage_and_the_iteration_are_written_once_however_many_there_are(
    two: Compiled, sixteen: Compiled
) -> None:
    for found in (two, sixteen):
        assert found.spec["deploymentSpec"]["executors"].keys() == {f"exec-{stage}" for stage in STAGES}
        assert [name for name in found.graphs if name.startswith("comp-iteration")] == ["comp-iteration"]
        assert all(found.text.count(f"def {stage}(") == 1 for stage in STAGES)


def test_compiling_twice_gives_the_same_file(two: Compiled, tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "rapid.yaml", ClusterConfig(max_iterations=2))
    assert (tmp_path / "rapid.yaml").read_text(encoding="utf-8") == two.text


def test_what_a_run_is_about_and_where_it_runs_are_parameters_of_the_pipeline(two: Compiled) -> None:
    inputs = two.spec["root"]["inputDefinitions"]["parameters"]
    run = {"config", "run", "model", "data", "iterations"}
    assert inputs.keys() == {*run, *ClusterConfig().parameters}
    assert inputs["iterations"]["defaultValue"] == -1
    assert {name: inputs[name]["defaultValue"] for name in inputs.keys() - run} == ClusterConfig().parameters
    assert all(parameter["description"] for parameter in inputs.values())


def test_whatever_a_task_refers_to_is_there(two: Compiled, pipelined: Compiled) -> None:
    """KFP's compiler does not pass resources into loops by itself."""
    for found in (two, pipelined):
        for graph, task in found.tasks():
            known = graph.get("inputDefinitions", {}).get("parameters", {})
            given = task.get("inputs", {}).get("parameters", {})
            wanted = {p["componentInputParameter"] for p in given.values() if "componentInputParameter" in p}
            if label := found.executor(task):
                wanted |= set(references(found.settings[label]))
            assert wanted <= known.keys()


def references(settings: object) -> list[str]:
    if isinstance(settings, list):
        return [name for item in settings for name in references(item)]
    if isinstance(settings, dict):
        own = [settings["componentInputParameter"]] if "componentInputParameter" in settings else []
        return own + [name for item in settings.values() for name in references(item)]
    return []


def test_nothing_is_cached_by_kfp(two: Compiled) -> None:
    assert not [task for _, task in two.tasks() if task.get("cachingOptions", {}).get("enableCache")]


def test_nothing_large_is_an_artifact(two: Compiled) -> None:
    artifacts = {
        artifact["artifactType"]["schemaTitle"]
        for component in two.spec["components"].values()
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values()
    }
    assert artifacts == {"system.Metrics", "system.HTML"}


def test_names_in_the_graph_say_what_is_what(two: Compiled, pipelined: Compiled) -> None:
    names = [task["taskInfo"]["name"] for _, task in two.tasks()]
    for name in ("prepare", "iterations", "evaluate and publish", "rollout shards", "rollout", "reward", "publish"):
        assert name in names
    assert {"iteration 1", "iteration 2", "from iteration 1 on", "from iteration 2 on"} <= set(names)
    names = [task["taskInfo"]["name"] for _, task in pipelined.tasks()]
    assert {f"{what} {number}" for what in ("sample", "train") for number in (1, 2, 3)} <= set(names)


def test_pipelined_an_iteration_trains_while_the_next_is_sampled(pipelined: Compiled) -> None:
    loop = pipelined.graphs["comp-loop"]["dag"]["tasks"]
    assert loop["condition-1"]["dependentTasks"] == ["sampling"]
    block = pipelined.graphs["comp-condition-2"]["dag"]["tasks"]
    train, ahead, rest = (one_of(block, name) for name in ("train 2", "sample 3", "from iteration 3 on"))
    assert "dependentTasks" not in train
    assert "dependentTasks" not in ahead
    names = {task["taskInfo"]["name"]: name for name, task in block.items()}
    assert sorted(rest["dependentTasks"]) == sorted([names["train 2"], names["sample 3"]])


def one_of(tasks: dict[str, dict], name: str) -> dict:
    (task,) = (task for task in tasks.values() if task["taskInfo"]["name"] == name)
    return task


def test_pipelined_nothing_is_sampled_for_an_iteration_that_the_run_does_not_have(pipelined: Compiled) -> None:
    (condition,) = pipelined.graphs["comp-sampling"]["dag"]["tasks"].values()
    assert condition["triggerPolicy"]["condition"] == (
        "int(inputs.parameter_values['pipelinechannel--number']) "
        "<= int(inputs.parameter_values['pipelinechannel--iterations'])"
    )


def test_a_name_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.yaml"):
        compile_pipeline(tmp_path / "rapid.txt", ClusterConfig(max_iterations=2))
