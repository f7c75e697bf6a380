"""Every pod fits the restricted Pod Security Standard, and more."""

import re

import pytest

from tests.support.manifests import RENDERINGS, REPOSITORY, PodSpec, one, pods, rendered

SERVING = ("Deployment", "StatefulSet")


@pytest.fixture(params=RENDERINGS)
def made(request: pytest.FixtureRequest) -> list[PodSpec]:
    return list(pods(rendered(request.param)))


def test_all_pods_are_looked_at(made: list[PodSpec]) -> None:
    names = {pod.name for pod in made}
    assert names >= {
        "Deployment rapid-mlflow",
        "StatefulSet rapid-postgres",
        "Job rapid-bucket",
        "Job rapid-cache",
    }


def test_pods_are_restricted(made: list[PodSpec]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, restricted."""
    for pod in made:
        assert pod.spec["securityContext"]["runAsNonRoot"] is True, pod.name
        assert pod.spec["securityContext"]["runAsUser"] > 0, pod.name
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, pod.name
        assert not pod.spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}, pod.name
        allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
        for volume in pod.spec.get("volumes", []):
            assert volume.keys() - {"name"} <= allowed, (pod.name, volume)
        for container in pod.containers:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, pod.name
            assert context["capabilities"] == {"drop": ["ALL"]}, pod.name
            assert not context.get("privileged"), pod.name
            assert not any("hostPort" in port for port in container.get("ports", [])), pod.name


def test_root_file_systems_are_read_only_and_tmp_is_writable(made: list[PodSpec]) -> None:
    for pod in made:
        writable = {v["name"] for v in pod.spec.get("volumes", []) if "emptyDir" in v}
        assert all("sizeLimit" in v["emptyDir"] for v in pod.spec.get("volumes", []) if "emptyDir" in v), pod.name
        for container in pod.containers:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, pod.name
            homes = [e["value"] for e in container.get("env", []) if e["name"] == "HOME"]
            mounted = {m["mountPath"] for m in container.get("volumeMounts", []) if m["name"] in writable}
            assert not homes or (homes == ["/tmp"] and "/tmp" in mounted), pod.name


def test_no_token_where_nobody_asks_kubernetes(made: list[PodSpec]) -> None:
    for pod in made:
        assert pod.spec["automountServiceAccountToken"] is False, pod.name
        assert pod.spec["serviceAccountName"] in ("rapid-services", "rapid-train"), pod.name


def test_requests_and_limits(made: list[PodSpec]) -> None:
    for pod in made:
        if pod.owner["kind"] == "TrainingRuntime":
            continue  # the launcher sets them, from the settings of the pipeline
        for container in pod.containers:
            for what in ("requests", "limits"):
                assert container["resources"][what].keys() == {"cpu", "memory"}, (pod.name, what)


def test_servers_are_probed(made: list[PodSpec]) -> None:
    served = [pod for pod in made if pod.owner["kind"] in SERVING]
    assert served
    for pod in served:
        for container in pod.spec["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), pod.name


def test_images_name_a_version(made: list[PodSpec]) -> None:
    for pod in made:
        for container in pod.containers:
            assert re.fullmatch(r"[a-z0-9./-]+:v?\d+(\.\d+)+(-[a-z]+)?", container["image"]), container["image"]


def test_pods_know_what_they_are(made: list[PodSpec]) -> None:
    """The labels by which policies and services select them."""
    for pod in made:
        assert pod.labels["app.kubernetes.io/part-of"] == "rapid", pod.name
        assert pod.labels["app.kubernetes.io/component"], pod.name
        # A sidecar of Istio would not be restricted, and the bucket job would never end.
        assert pod.labels["sidecar.istio.io/inject"] == "false", pod.name


def test_jobs_go_by_themselves_so_that_apply_works_again(made: list[PodSpec]) -> None:
    jobs = [pod.owner for pod in made if pod.owner["kind"] == "Job"]
    assert jobs
    assert all(job["spec"]["ttlSecondsAfterFinished"] <= 3600 for job in jobs)


def test_mlflow_is_the_version_that_the_stages_speak_to() -> None:
    locked = re.search(r"^mlflow==(\S+)", (REPOSITORY / "requirements" / "lock.txt").read_text(), re.MULTILINE)
    assert locked
    server = one(rendered("gpu"), "Deployment", "rapid-mlflow")
    images = {c["image"] for pod in pods([server]) for c in pod.containers}
    assert images == {f"ghcr.io/mlflow/mlflow:v{locked[1]}-full"}


def test_the_training_runtime_has_room_for_what_it_writes() -> None:
    runtime = next(pods([one(rendered("everything"), "TrainingRuntime", "rapid-train")]))
    assert {m["mountPath"] for m in runtime.spec["containers"][0]["volumeMounts"]} == {"/tmp", "/dev/shm"}
    assert [c["name"] for c in runtime.spec["containers"]] == ["node"]


@pytest.mark.parametrize("rendering", ["gpu", "everything"])
def test_an_own_namespace_takes_restricted_pods_only(rendering: str) -> None:
    labels = one(rendered(rendering), "Namespace", "rapid")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    # A Kubeflow profile sets it to something else, on which access to KFP's object storage hangs.
    assert "app.kubernetes.io/part-of" not in labels


@pytest.mark.parametrize("rendering", ["local", "shared"])
def test_a_shared_namespace_is_not_ours_to_change(rendering: str) -> None:
    assert not [item for item in rendered(rendering) if item["kind"] == "Namespace"]


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_running_stages_may_not_be_evicted(rendering: str) -> None:
    budget = one(rendered(rendering), "PodDisruptionBudget", "rapid-stages")["spec"]
    # Percentages and maxUnavailable are refused for pods whose owner has no scale, as those of a workflow.
    assert isinstance(budget["minAvailable"], int)
    assert "maxUnavailable" not in budget
