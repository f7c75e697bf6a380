"""The cluster's settings: what they refuse, what they default to, what they make of images and accelerators."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.contract.config import LoopSection
from components.contract.errors import InputError
from components.runtime.parent import Limits
from pipelines.cluster.cluster_config import PODS, STAGES, ClusterConfig, load_cluster, local_cluster

EXAMPLE = Path(__file__).parents[4] / "k8s/cluster.example.yaml"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_holds_every_key_with_its_default() -> None:
    given = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert load_cluster(EXAMPLE) == ClusterConfig()
    assert given == yaml.safe_load(ClusterConfig().model_dump_json())


def test_examples_in_its_comments_are_valid() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    found = {key: yaml.safe_load(value) for key, value in re.findall(r"(\w+): \S+ +# for example (.+)", text)}
    assert found.keys() == {"node_selector", "tolerations", "secrets"}
    stage = ClusterConfig.model_validate({"reward": found}).reward
    assert stage.tolerations[0].operator == "Exists"
    assert stage.secrets[0].keys == {"api-key": "JUDGE_API_KEY"}


@pytest.mark.parametrize(
    ("given", "s3", "hub"),
    [
        ({"s3": {"optional": True}}, ("rapid-s3", True), ("rapid-hub", True)),
        ({"s3": {"name": "team-s3"}, "hub": {"name": "team-hub"}}, ("team-s3", False), ("team-hub", True)),
        ({"hub": "team-hub"}, ("rapid-s3", False), ("team-hub", True)),
        ({"hub": {"optional": False}}, ("rapid-s3", False), ("rapid-hub", False)),
    ],
)
def test_what_is_left_out_of_a_secret_is_as_by_default(
    given: dict[str, Any], s3: tuple[str, bool], hub: tuple[str, bool]
) -> None:
    secrets = ClusterConfig.model_validate({"secrets": given}).secrets
    assert [(one.name, one.optional) for one in (secrets.s3, secrets.hub)] == [s3, hub]


def test_what_a_run_can_change_are_images_and_gpus() -> None:
    assert ClusterConfig(images="here/rapid:2").parameters == {
        "rollout_image": "here/rapid/rollout:2",
        "rollout_accelerators": "1",
        "train_image": "here/rapid/train:2",
        "train_accelerators": "1",
    }
    assert ClusterConfig(layout="pod").parameters == {"pod_image": "rapid-rl/pod:0.1.0", "pod_accelerators": "1"}
    assert [p.name for p in ClusterConfig().parameters_of(["reward", "train"])] == ["train_image", "train_accelerators"]


def test_a_node_of_two_cores_can_give_what_all_pods_request_without_gpus() -> None:
    cluster = ClusterConfig.model_validate({"device": "cpu"})
    for layout, pods in PODS.items():
        requests = [cluster.placement(pod).cpu_request for pod in pods]
        assert requests == ["100m"] * len(pods), layout
        assert all(cluster.placement(pod).cpu == "2" for pod in pods)


def test_settings_of_a_section_are_the_limits_of_its_parent_process() -> None:
    cluster = ClusterConfig.model_validate({"reward": {"retries": 7}, "backoff": {"seconds": 5}, "silence_minutes": 9})
    limits = Limits.from_json(cluster.limits("reward"))
    assert (limits.retries, limits.backoff_seconds, limits.silence_minutes) == (7, 5, 9)
    assert limits.timeout_minutes == cluster.reward.timeout_minutes


def test_a_cluster_without_gpus_asks_for_none_and_runs_all_in_one_image() -> None:
    cluster = ClusterConfig.model_validate({"device": "cpu", "images": "localhost:5001/rapid:dev"})
    assert {cluster.image(stage) for stage in STAGES} == {"localhost:5001/rapid/cpu:dev"}
    assert cluster.parameters.keys() == {"rollout_image", "train_image"}


def test_what_a_stage_leaves_out_is_that_of_the_device() -> None:
    cluster = ClusterConfig.model_validate({"device": "cpu", "rollout": {"cpu": 4}, "train": None})
    assert (cluster.rollout.cpu, cluster.rollout.memory, cluster.train.memory) == ("4", "6Gi", "4Gi")


def test_images_are_named_after_the_stage_that_runs_in_them() -> None:
    cluster = ClusterConfig.model_validate({"images": "registry:5000/team/rapid:1.2", "reward": {"image": "mine@sha"}})
    assert [cluster.image(stage) for stage in STAGES] == [
        "registry:5000/team/rapid/base:1.2",
        "registry:5000/team/rapid/rollout:1.2",
        "mine@sha",
        "registry:5000/team/rapid/train:1.2",
        "registry:5000/team/rapid/base:1.2",
    ]


def test_one_machine_has_nothing_to_choose() -> None:
    assert local_cluster(LoopSection()).parameters == {}
    assert local_cluster(LoopSection(iterations=0)).max_iterations == 1
    assert local_cluster(LoopSection(iterations=300), "pod").layout == "pod"
    with pytest.raises(InputError, match="layout tasks has at most 48 on one machine; layout pod has no limit"):
        local_cluster(LoopSection(iterations=49), "tasks")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("max_iterations: 0", "max_iterations"),
        ("layout: graph", "layout must be"),
        ("queue: rapid", "use layout: pod, one pod a run, or tasks"),
        ("train_job: {queue: gpus}", "Kueue admits pods one by one"),
        ("{layout: pod, train_job: {}}", "train_job does not go with layout: pod"),
        ("parallel_shards: 2", "parallel_shards is for layout: tasks"),
        ("backoff: {factor: 1.5}", "backoff.factor must be an integer"),
        ("rollout: {gpus: 1}", "rollout.gpus is not an option"),
        ("rollout: {cpu: four}", "rollout.cpu"),
        ("train: {memory: 16GiB}", "train.memory"),
        ("train: {scratch: 1.5Gi}", "train.scratch"),
        ("train: {accelerators: -1}", "train.accelerators"),
        ("device: tpu", "device"),
        ("images: rapid", "images must be registry/prefix:tag"),
        ("images: localhost:5000/rapid", "images must be registry/prefix:tag"),
        ("secrets: {s3: {AWS_ACCESS_KEY_ID: x}}", "secrets.s3.AWS_ACCESS_KEY_ID is not an option"),
        ("reward: {tolerations: [{key: a, operator: Exists, value: b}]}", "operator Exists takes no value"),
        ("reward: {tolerations: [{}]}", "without a key the operator must be Exists"),
        ("reward: {secrets: [{name: judge, keys: {k: not-a-variable}}]}", "reward.secrets.0.keys"),
        ("- 1", "must be a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_is_impossible_is_refused_in_one_line(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(InputError) as refused:
        load_cluster(written(tmp_path / "cluster.yaml", text))
    assert wrong in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.yaml"):
        load_cluster(tmp_path / "none.yaml")


def test_options_go_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "cluster.yaml", "{images: a:1, max_iterations: 3}")
    replaced: dict[str, Any] = {"images": "b:2", "device": "cpu", "layout": "pod", "max_iterations": None}
    cluster = load_cluster(path, **replaced)
    assert (cluster.images, cluster.device, cluster.layout, cluster.max_iterations) == ("b:2", "cpu", "pod", 3)
    assert cluster.rollout.accelerators == 0
