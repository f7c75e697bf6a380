"""The graph that is compiled: iterations, names, parameters, artifacts, size."""

from pathlib import Path
from typing import Any

import pytest

from components.contract.config import RunConfig, RunSection
from components.contract.errors import InputError
from components.contract.resolve import parse_config
from components.runtime.parent import Limits
from pipelines.cluster.cluster_config import STAGES, ClusterConfig
from pipelines.compilation import CompiledPipeline, compile_pipeline
from tests.support.compiled import Compiled, compiled


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Layout tasks, up to two iterations."""
    return compiled(tmp_path_factory.mktemp("two") / "rapid.yaml", ClusterConfig(layout="tasks", max_iterations=2))


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(tmp_path_factory.mktemp("sixteen") / "rapid.yaml", ClusterConfig(layout="tasks"))


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(tmp_path_factory.mktemp("workers") / "rapid.yaml", ClusterConfig())


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(tmp_path_factory.mktemp("pod") / "rapid.yaml", ClusterConfig(layout="pod"))


def test_one_condition_per_iteration_each_inside_the_one_before(sixteen: Compiled) -> None:
    conditions = [task for _, task in sixteen.tasks() if "triggerPolicy" in task]
    assert len(conditions) == 16
    assert all(task["triggerPolicy"]["condition"].endswith("> 0") for task in conditions)
    for number in range(1, 16):
        held = sixteen.graphs[f"comp-condition-{number}"]["dag"]["tasks"]
        assert f"condition-{number + 1}" in held


def test_every_stage_and_the_iteration_are_written_once_however_many_there_are(
    two: Compiled, sixteen: Compiled
) -> None:
    for found in (two, sixteen):
        assert found.spec["deploymentSpec"]["executors"].keys() == {f"exec-{stage}" for stage in STAGES}
        assert [name for name in found.graphs if name.startswith("comp-iteration")] == ["comp-iteration"]
        assert all(found.text.count(f"def {stage}(") == 1 for stage in STAGES)


def test_compiling_twice_gives_the_same_file(two: Compiled, tmp_path: Path) -> None:
    compile_pipeline(ClusterConfig(layout="tasks", max_iterations=2)).write(tmp_path / "rapid.yaml")
    assert (tmp_path / "rapid.yaml").read_text(encoding="utf-8") == two.text


def test_what_people_change_between_runs_are_parameters(two: Compiled, workers: Compiled, pod: Compiled) -> None:
    run = {"config", "run", "model", "data", "iterations"}
    for found, cluster in ((two, ClusterConfig()), (workers, ClusterConfig()), (pod, ClusterConfig(layout="pod"))):
        inputs = found.spec["root"]["inputDefinitions"]["parameters"]
        assert len(inputs) <= 15
        assert {name: inputs[name]["defaultValue"] for name in inputs.keys() - run} == cluster.parameters
        assert inputs.keys() == {*run, *cluster.parameters}
        assert "defaultValue" not in inputs["config"]
        assert inputs["iterations"]["defaultValue"] == -1
        about = found.spec["pipelineInfo"]["description"]
        assert all(f"- {name}: {parameter['description']}" in about for name, parameter in inputs.items())


def test_a_configuration_is_the_default_of_a_pipeline_that_is_otherwise_the_same(example_config: Any) -> None:
    config: RunConfig = example_config()
    bare = compile_pipeline(ClusterConfig(layout="pod"))
    baked = bare.with_config(config)
    parameter = baked.spec["root"]["inputDefinitions"]["parameters"]["config"]
    assert parse_config(parameter.pop("defaultValue")) == config
    assert parameter.pop("isOptional")
    assert baked.spec == bare.spec
    assert baked.platform == bare.platform


def test_the_digest_is_of_what_a_pipeline_means(example_config: Any) -> None:
    config: RunConfig = example_config()
    compiled_ = compile_pipeline(ClusterConfig(layout="pod")).with_config(config)
    another_sdk = CompiledPipeline({**compiled_.spec, "sdkVersion": "kfp-2.17.3"}, compiled_.platform)
    assert another_sdk.digest == compiled_.digest
    others = [
        compile_pipeline(ClusterConfig(layout="pod")),
        compile_pipeline(ClusterConfig(layout="pod", pod_retries=3)).with_config(config),
        compiled_.with_config(config.model_copy(update={"run": RunSection(name="another")})),
    ]
    assert len({compiled_.digest, *(other.digest for other in others)}) == 4


def test_whatever_a_task_refers_to_is_there(two: Compiled, workers: Compiled, pod: Compiled) -> None:
    """KFP's compiler does not pass resources into loops by itself."""
    for found in (two, workers, pod):
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


def test_nothing_is_cached_by_kfp(two: Compiled, workers: Compiled, pod: Compiled) -> None:
    for found in (two, workers, pod):
        assert not [task for _, task in found.tasks() if task.get("cachingOptions", {}).get("enableCache")]


def test_nothing_large_is_an_artifact(two: Compiled, workers: Compiled, pod: Compiled) -> None:
    artifacts = {
        artifact["artifactType"]["schemaTitle"]
        for found in (two, workers, pod)
        for component in found.spec["components"].values()
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values()
    }
    assert artifacts == {"system.Metrics", "system.HTML"}


def test_names_in_the_graph_say_what_is_what(two: Compiled) -> None:
    names = [task["taskInfo"]["name"] for _, task in two.tasks()]
    for name in ("prepare", "iterations", "evaluate and publish", "rollout shards", "rollout", "reward", "publish"):
        assert name in names
    assert {"iteration 1", "iteration 2", "from iteration 1 on", "from iteration 2 on"} <= set(names)


def waits_for(graph: dict[str, Any]) -> dict[str, set[str]]:
    """Return, for each task of a graph, the tasks that it waits for."""
    return {name: set(task.get("dependentTasks", ())) for name, task in graph["dag"]["tasks"].items()}


def test_workers_of_all_stages_and_shards_work_side_by_side(workers: Compiled) -> None:
    assert waits_for(workers.graphs["root"]) == {
        "prepare": set(),
        "for-loop-1": {"prepare"},
        "train": {"prepare"},
        "publish": {"prepare", "for-loop-1", "train"},
    }
    assert waits_for(workers.graphs["comp-for-loop-1"]) == {"rollout": set(), "reward": set()}
    assert "iteratorPolicy" not in workers.graphs["root"]["dag"]["tasks"]["for-loop-1"]
    assert workers.graphs.keys() == {"root", "comp-for-loop-1"}


def test_one_pod_works_between_prepare_and_publish(pod: Compiled) -> None:
    assert waits_for(pod.graphs["root"]) == {"prepare": set(), "pod": {"prepare"}, "publish": {"pod", "prepare"}}
    assert pod.graphs.keys() == {"root"}


def test_what_works_for_the_whole_run_is_given_its_limits(workers: Compiled, pod: Compiled) -> None:
    for found, stages in ((workers, {"rollout": 720, "reward": 360, "train": 720}), (pod, {"pod": 720})):
        given = {
            label.removeprefix("exec-"): task["inputs"]["parameters"]["limits"]["runtimeValue"]["constant"]
            for _, task in found.tasks()
            if (label := found.executor(task))
        }
        minutes = {stage: Limits.from_json(given[stage]).timeout_minutes for stage in stages}
        assert minutes == stages


def test_a_name_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.yaml"):
        compile_pipeline(ClusterConfig(layout="pod")).write(tmp_path / "rapid.txt")
