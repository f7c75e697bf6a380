"""Every object is one that a cluster takes."""

import copy
from collections.abc import Callable

import pytest

from tests.support.manifests import K8S, RENDERINGS, Object, build, one, pods, rendered

VERSIONS = ("1.33", "1.35", "1.37")

EXTENSIONS = ("kueue.x-k8s.io", "trainer.kubeflow.org")


def extends(item: Object) -> bool:
    return item["apiVersion"].partition("/")[0] in EXTENSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_kubernetes_takes_every_object(rendering: str, version: str, valid: Callable[[Object, str], None]) -> None:
    own = [item for item in rendered(rendering) if not extends(item)]
    assert len(own) > 20
    for item in own:
        valid(item, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_fields_and_wrong_types_are_found(version: str, valid: Callable[[Object, str], None]) -> None:
    for path, value in ((("spec", "replica"), 1), (("spec", "replicas"), "one")):
        broken = copy.deepcopy(one(rendered("gpu"), "Deployment", "rapid-mlflow"))
        broken[path[0]][path[1]] = value
        with pytest.raises(Exception, match=f"{path[1]}|{value}"):
            valid(broken, version)


def test_kueue_takes_its_objects(valid_extension: Callable[[Object], None]) -> None:
    queues = [*build(K8S / "kueue"), *(item for item in rendered("everything") if item["kind"] == "LocalQueue")]
    assert sorted(item["kind"] for item in queues) == ["ClusterQueue", "LocalQueue", "ResourceFlavor"]
    for item in queues:
        valid_extension(item)


def test_what_kueue_would_drop_is_found(valid_extension: Callable[[Object], None]) -> None:
    queue = one(build(K8S / "kueue"), "ClusterQueue", "rapid")
    for broken in (
        {**queue, "spec": {**queue["spec"], "cohort": "team"}},
        {**queue, "spec": {**queue["spec"], "queueingStrategy": "FIFO"}},
        {**queue, "metadata": {**queue["metadata"], "namespace": "rapid"}},
    ):
        with pytest.raises(Exception, match=r"cohort|FIFO|namespace"):
            valid_extension(broken)


def test_queues_and_flavors_fit_each_other() -> None:
    cluster = build(K8S / "kueue")
    queue = one(cluster, "ClusterQueue", "rapid")
    flavors = {item["metadata"]["name"] for item in cluster if item["kind"] == "ResourceFlavor"}
    for group in queue["spec"]["resourceGroups"]:
        for flavor in group["flavors"]:
            assert flavor["name"] in flavors
            # A rule of the published schema that is not JSON Schema.
            assert [r["name"] for r in flavor["resources"]] == group["coveredResources"]
    covered = {name for group in queue["spec"]["resourceGroups"] for name in group["coveredResources"]}
    assert covered >= {"cpu", "memory", "nvidia.com/gpu"}
    local = one(rendered("everything"), "LocalQueue", "rapid")
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]


def test_kubeflow_trainer_takes_the_runtime(valid: Callable[[Object, str], None]) -> None:
    """By the models that the Trainer publishes with its API: what they do not know does not come back."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="the kubeflow SDK is not installed")
    runtime = one(rendered("everything"), "TrainingRuntime", "rapid-train")
    assert models.TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime
    # The kubeflow SDK takes no runtime without it.
    assert runtime["metadata"]["labels"]["trainer.kubeflow.org/framework"] == "torch"
    pod = next(pods([runtime]))
    valid(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": pod.labels}, "spec": pod.spec}, "1.37"
    )


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_objects_are_one_of_a_kind_and_in_one_namespace(rendering: str) -> None:
    objects = rendered(rendering)
    keys = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(set(keys)) == len(keys)
    spaces = {item["metadata"].get("namespace") for item in objects if item["kind"] != "Namespace"}
    assert len(spaces) == 1
    assert None not in spaces
