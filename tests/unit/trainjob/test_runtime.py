"""The TrainingRuntime in k8s/: what Kubeflow Trainer publishes of it, and what pods in a restricted namespace need."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

RUNTIME = Path(__file__).parents[3] / "k8s/components/several-nodes/runtime.yaml"


@pytest.fixture
def runtime() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(RUNTIME.read_text(encoding="utf-8"))
    return tree


@pytest.fixture
def job(runtime: dict[str, Any]) -> dict[str, Any]:
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    spec: dict[str, Any] = node["template"]["spec"]
    return spec


def test_it_has_no_field_that_the_published_models_lack(runtime: dict[str, Any]) -> None:
    models = importlib.import_module("kubeflow_trainer_api.models")
    read = models.TrainerV1alpha1TrainingRuntime.from_dict(runtime)
    assert read.to_dict() == runtime


def test_the_sdk_takes_it_for_torch(runtime: dict[str, Any]) -> None:
    assert runtime["metadata"]["labels"]["trainer.kubeflow.org/framework"] == "torch"
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert node["name"] == "node"
    assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert [c["name"] for c in node["template"]["spec"]["template"]["spec"]["containers"]] == ["node"]


def test_a_pod_that_fails_ends_the_job(runtime: dict[str, Any], job: dict[str, Any]) -> None:
    """Retries are the pipeline's, which knows what is committed."""
    assert runtime["spec"]["template"]["spec"]["failurePolicy"]["maxRestarts"] == 0
    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_its_pods_have_no_rights_and_only_the_keys_of_storage(job: dict[str, Any]) -> None:
    pod = job["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    secrets = [source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source]
    assert secrets == ["rapid-s3"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/dev/shm"}
    # The message about bad input is read from the file alone, and only where it was written.
    assert container.get("terminationMessagePolicy", "File") == "File"
    assert job["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "train"
