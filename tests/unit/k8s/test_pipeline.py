"""The compiled pipeline and the manifests speak of the same things."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.cluster_config import STAGES, USES_HUB, USES_MLFLOW, ClusterConfig, load_cluster
from tests.support.compiled import Compiled, compiled
from tests.support.manifests import RENDERINGS, REPOSITORY, Object, one, rendered
from tests.support.network_policies import Network, Pod


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(tmp_path_factory.mktemp("pipeline") / "rapid.yaml", ClusterConfig(max_iterations=1))


def pod_of(stage: str, pipeline: Compiled, objects: list[Object]) -> Pod:
    namespace = one(objects, "ServiceAccount", "rapid-stage")["metadata"]["namespace"]
    labels = pipeline.kubernetes(stage)["podMetadata"]["labels"]
    return Pod(namespace, labels | {"workflows.argoproj.io/workflow": "rapid-x7k2p"})


@pytest.mark.parametrize("rendering", RENDERINGS)
@pytest.mark.parametrize("stage", STAGES)
def test_stages_are_let_to_what_they_are_given_credentials_for(pipeline: Compiled, rendering: str, stage: str) -> None:
    objects = rendered(rendering)
    network, pod = Network(objects), pod_of(stage, pipeline, objects)
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


def test_the_budget_holds_every_stage(pipeline: Compiled) -> None:
    selector = one(rendered("gpu"), "PodDisruptionBudget", "rapid-stages")["spec"]["selector"]
    (expression,) = selector["matchExpressions"]
    for stage in STAGES:
        labels = pipeline.kubernetes(stage)["podMetadata"]["labels"]
        assert labels.items() >= selector["matchLabels"].items()
        assert labels[expression["key"]] in expression["values"]


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
