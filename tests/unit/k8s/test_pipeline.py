"""The compiled pipeline and the manifests speak of the same things."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.cluster_config import PODS, USES_HUB, USES_MLFLOW, ClusterConfig, load_cluster
from tests.support.compiled import Compiled, compiled
from tests.support.manifests import RENDERINGS, REPOSITORY, Object, one, rendered
from tests.support.network_policies import Network, Pod

KINDS = [(layout, pod) for layout, pods in PODS.items() for pod in pods]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compiled]:
    folder = tmp_path_factory.mktemp("pipelines")
    return {
        layout: compiled(folder / f"{layout}.yaml", ClusterConfig(layout=layout, max_iterations=1)) for layout in PODS
    }


def pod_of(stage: str, pipeline: Compiled, objects: list[Object]) -> Pod:
    namespace = one(objects, "ServiceAccount", "rapid-stage")["metadata"]["namespace"]
    labels = pipeline.kubernetes(stage)["podMetadata"]["labels"]
    return Pod(namespace, labels | {"workflows.argoproj.io/workflow": "rapid-x7k2p"})


@pytest.mark.parametrize("rendering", RENDERINGS)
@pytest.mark.parametrize(("layout", "stage"), KINDS)
def test_pods_are_let_to_what_they_are_given_credentials_for(
    pipelines: dict[str, Compiled], rendering: str, layout: str, stage: str
) -> None:
    objects = rendered(rendering)
    network, pod = Network(objects), pod_of(stage, pipelines[layout], objects)
    mlflow = Pod(pod.namespace, one(objects, "Deployment", "rapid-mlflow")["spec"]["template"]["metadata"]["labels"])
    assert network.connects(pod, mlflow, 5000) == (stage in USES_MLFLOW)
    assert network.connects(pod, "93.184.216.34", 443) == (stage in USES_HUB)
    assert "everything" not in network.reach(pod)


def test_names_are_those_of_the_settings() -> None:
    settings, objects = ClusterConfig.model_validate({"train_job": {}}), rendered("everything")
    one(objects, "ServiceAccount", settings.service_account)
    one(objects, "ConfigMap", settings.environment)
    assert settings.cache is not None
    one(objects, "PersistentVolumeClaim", settings.cache.claim)
    assert settings.train_job is not None
    one(objects, "TrainingRuntime", settings.train_job.runtime)
    assert settings.secrets.s3.name in {ref["secretRef"]["name"] for ref in secret_environments(objects)}


def secret_environments(objects: list[Object]) -> list[dict[str, Any]]:
    job = one(objects, "Job", "rapid-bucket")
    return [ref for ref in job["spec"]["template"]["spec"]["containers"][0]["envFrom"] if "secretRef" in ref]


@pytest.mark.parametrize(("layout", "stage"), KINDS)
def test_the_budget_holds_what_runs_in_layout_tasks_and_nothing_else(
    pipelines: dict[str, Compiled], layout: str, stage: str
) -> None:
    """A worker runs for days, and would block the drain of its node for as long."""
    selector = one(rendered("gpu"), "PodDisruptionBudget", "rapid-stages")["spec"]["selector"]
    (expression,) = selector["matchExpressions"]
    labels = pipelines[layout].kubernetes(stage)["podMetadata"]["labels"]
    assert (labels.items() >= selector["matchLabels"].items()) == (layout == "tasks")
    assert labels[expression["key"]] in expression["values"] or layout == "pod"


def test_the_overlay_of_a_laptop_runs_its_jobs_in_the_image_of_the_stages() -> None:
    settings = ClusterConfig.model_validate({"device": "cpu"})
    for job in ("rapid-bucket", "rapid-cache"):
        (container,) = one(rendered("local"), "Job", job)["spec"]["template"]["spec"]["containers"]
        assert container["image"] == settings.image("prepare")


def test_documented_settings_are_settings(tmp_path: Path) -> None:

    text = (REPOSITORY / "docs" / "kubernetes" / "first-run.md").read_text()
    found = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "images:" in block]
    assert len(found) == 2
    for block in found:
        (tmp_path / "cluster.yaml").write_text(block)
        load_cluster(tmp_path / "cluster.yaml")
