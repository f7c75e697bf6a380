"""The Kubernetes manifests as kubectl renders them."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
K8S = REPOSITORY / "k8s"
Object = dict[str, Any]
RENDERINGS = ("gpu", "local", "everything", "shared")


@cache
def rendered(name: str) -> list[Object]:
    """Return the objects of an overlay, or of a variant of the overlay `gpu` that its comments describe.

    `everything` has all optional components; `shared` is for a namespace that other applications use too.
    """
    if (K8S / "overlays" / name).is_dir():
        return build(K8S / "overlays" / name)
    with TemporaryDirectory() as folder:
        shutil.copytree(K8S, folder, dirs_exist_ok=True)
        kustomization = Path(folder) / "overlays" / "gpu" / "kustomization.yaml"
        kustomization.write_text(_changed(kustomization.read_text(), name))
        return build(kustomization.parent)


def _changed(kustomization: str, name: str) -> str:
    """Edit the overlay's kustomization as its comments describe."""
    components = {"everything": ("several-nodes", "kueue"), "shared": ("shared-namespace",)}[name]
    for component in components:
        line = f"  # - ../../components/{component}\n"
        assert line in kustomization
        kustomization = kustomization.replace(line, line.replace("# ", "", 1))
    if name == "shared":
        kustomization = kustomization.replace("namespace: rapid\n", "namespace: kubeflow\n", 1)
    return kustomization


def build(folder: Path) -> list[Object]:
    """Return the objects that `kubectl kustomize` renders; skip the test if kubectl is missing or too old."""
    kubectl = _kubectl()
    made = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return list(yaml.load_all(made.stdout, yaml.CSafeLoader))


@cache
def _kubectl() -> str:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True)
    version = json.loads(done.stdout or "{}").get("kustomizeVersion", "v0")
    # Debian 12's kubernetes-client brings kustomize 2, which does not support components.
    if int(version.lstrip("v").split(".")[0]) < 5:
        pytest.skip(f"kubectl brings kustomize {version}, components need 5")
    return kubectl


class PodSpec(NamedTuple):
    """A pod template and its labels, with the object that owns it."""

    owner: Object
    labels: dict[str, str]
    spec: Object

    @property
    def name(self) -> str:
        return f"{self.owner['kind']} {self.owner['metadata']['name']}"

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods(objects: list[Object]) -> Iterator[PodSpec]:
    """Yield the pod templates of all objects that have one."""
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield _pod(item, item["spec"]["template"])
        elif item["kind"] == "CronJob":
            yield _pod(item, item["spec"]["jobTemplate"]["spec"]["template"])
        elif item["kind"] == "TrainingRuntime":
            for job in item["spec"]["template"]["spec"]["replicatedJobs"]:
                yield _pod(item, job["template"]["spec"]["template"])


def _pod(owner: Object, template: Object) -> PodSpec:
    return PodSpec(owner, template["metadata"]["labels"], template["spec"])


def one(objects: list[Object], kind: str, name: str) -> Object:
    found = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects {kind} {name}"
    return found[0]
