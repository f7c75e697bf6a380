"""Training as a job on other nodes, in the compiled pipeline."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.prepare.component import prepare
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.cluster.cluster_sections import TrainJob
from tests.support.compiled import Compiled, compiled


def cluster(**keys: Any) -> ClusterConfig:
    settings = {"layout": "tasks", "max_iterations": 1, "train_job": {"queue": "gpus"}, **keys}
    return ClusterConfig.model_validate(settings)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(tmp_path_factory.mktemp("job") / "rapid.yaml", cluster())


def arguments(pipeline: Compiled) -> dict[str, Any]:
    (task,) = [task for _, task in pipeline.tasks() if pipeline.executor(task) == "exec-train-job"]
    given: dict[str, Any] = task["inputs"]["parameters"]
    return given


def test_the_job_takes_the_place_of_the_stage(pipeline: Compiled) -> None:
    labels = {label for _, task in pipeline.tasks() if (label := pipeline.executor(task))}
    assert labels == {"exec-prepare", "exec-rollout", "exec-reward", "exec-train-job", "exec-publish"}


def test_what_the_stage_asks_for_is_asked_for_each_node(pipeline: Compiled) -> None:
    given = arguments(pipeline)
    assert {
        name: source.get("componentInputParameter") or source["runtimeValue"]["constant"]
        for name, source in given.items()
        if "taskOutputParameter" not in source
    } == {
        "run_uri": "run_uri",
        "iteration": "number",
        "image": "train_image",
        "cpu": "8",
        "memory": "48Gi",
        "accelerator": "nvidia.com/gpu",
        "accelerators": "train_accelerators",
        "node_selector": {},
        "tolerations": [],
        "cache": "rapid-cache",
        "runtime": "rapid-train",
        "queue": "gpus",
        "resources": {},
        "deadline_minutes": 720,
        "limits": cluster().limits("train"),
    }


def test_the_launcher_itself_is_small_and_has_the_secrets_of_training(pipeline: Compiled) -> None:
    resources = pipeline.container("train-job")["resources"]
    assert (resources["resourceCpuRequest"], resources["resourceMemoryLimit"]) == ("500m", "1Gi")
    assert "accelerator" not in resources
    asks = pipeline.kubernetes("train-job")
    assert asks["podMetadata"]["labels"]["app.kubernetes.io/component"] == "train"
    keys = {key["envVar"] for secret in asks["secretAsEnv"] for key in secret["keyToEnv"]}
    assert keys >= {"AWS_ACCESS_KEY_ID", "MLFLOW_TRACKING_PASSWORD"}
    assert "HF_TOKEN" not in keys
    # The job has a deadline, and how long it waits in a queue nobody knows.
    assert "timeout" not in str(asks).lower()
    assert not asks.get("pvcMount")


def test_images_and_what_is_compiled_in(tmp_path: Path) -> None:
    made = compiled(tmp_path / "rapid.yaml", cluster(images="here/rapid:2", cache=None, train={"accelerators": 0}))
    assert made.container("train-job")["image"] == "here/rapid/base:2"
    given = arguments(made)
    assert given["image"]["componentInputParameter"] == "train_image"
    assert given["accelerators"]["runtimeValue"]["constant"] == "0"
    assert given["cache"]["runtimeValue"]["constant"] == ""


def test_one_job_trains_every_iteration_of_a_run(tmp_path: Path) -> None:
    made = compiled(tmp_path / "rapid.yaml", cluster(layout="workers", train_job={}))
    (task,) = [task for _, task in made.tasks() if made.executor(task) == "exec-train-job"]
    assert task["dependentTasks"] == ["prepare"]
    given = task["inputs"]["parameters"]
    assert not {"iteration", "rewards", "queue"} & given.keys()
    assert "launch_in_process(run_uri, None, settings" in made.container("train-job")["command"][-1]
    assert "activeDeadlineSeconds" not in made.kubernetes("train-job")


def test_a_run_on_several_nodes_gets_a_job(example: RunConfig) -> None:
    several = example.model_copy(update={"train": example.train.model_copy(update={"nodes": 2})})
    assert ClusterConfig().fitting(example).train_job is None
    assert ClusterConfig().fitting(several).train_job == TrainJob()
    assert ClusterConfig(layout="pod").fitting(several).train_job is None
    assert cluster().fitting(several).train_job == TrainJob(queue="gpus")
    assert cluster().fitting(example).train_job == TrainJob(queue="gpus")


def test_prepare_refuses_a_run_on_several_nodes_in_a_pipeline_for_one(
    example: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    several = example.model_copy(update={"train": example.train.model_copy(update={"nodes": 2})})
    with pytest.raises(SystemExit) as ended:
        prepare.python_func(
            config=yaml.safe_dump(several.model_dump(mode="json")),
            run="",
            model="",
            data="",
            iterations=-1,
            job="",
            job_name="",
            due="",
            layout="workers",
            max_iterations=0,
            train_job=False,
            limits=ClusterConfig().limits("prepare"),
        )
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: train.nodes = 2, but this pipeline was compiled to train in one pod; compile it with --train-job\n"
    )


def test_rapid_run_refuses_several_nodes(example: RunConfig) -> None:
    from pipelines.cli.run_commands import execute

    several = example.model_copy(update={"train": example.train.model_copy(update={"nodes": 2})})
    with pytest.raises(InputError, match=r"train\.nodes = 2, but rapid run trains on this machine only"):
        execute(several, ["run", "my.yaml"])


@pytest.fixture
def example(example_config: Any) -> RunConfig:
    config: RunConfig = example_config()
    return config
