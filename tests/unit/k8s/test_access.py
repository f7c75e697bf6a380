"""Rights of the service accounts, and where secrets come from."""

import re

import pytest

from pipelines.cluster.cluster_config import ClusterConfig
from tests.support.manifests import K8S, RENDERINGS, REPOSITORY, Object, one, pods, rendered

SECRETS = REPOSITORY / "docs" / "kubernetes" / "secrets.md"


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_no_role_has_a_wildcard_or_rights_in_the_cluster(rendering: str) -> None:
    objects = rendered(rendering)
    assert not [item for item in objects if item["kind"].startswith("ClusterRole")]
    roles = [item for item in objects if item["kind"] == "Role"]
    assert len(roles) == 3
    for role in roles:
        for rule in role["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not any("*" in word for word in words), role["metadata"]["name"]
            assert not set(rule["verbs"]) & {"impersonate", "escalate", "bind", "deletecollection"}
            assert not set(rule["resources"]) & {"pods/exec", "pods/attach", "serviceaccounts/token", "rolebindings"}


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_secrets_can_be_read_by_name_only_and_none_of_ours(rendering: str) -> None:
    rules = [
        (role["metadata"]["name"], rule)
        for role in rendered(rendering)
        if role["kind"] == "Role"
        for rule in role["rules"]
        if "secrets" in rule["resources"]
    ]
    assert rules == [
        (
            "rapid-stage",
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "resourceNames": ["mlpipeline-minio-artifact"],
                "verbs": ["get"],
            },
        )
    ]


@pytest.mark.parametrize(
    ("rendering", "bound"),
    [
        ("gpu", {"rapid-stage"}),
        ("local", {"rapid-stage"}),
        ("shared", {"rapid-stage"}),
        ("everything", {"rapid-stage", "rapid-trainjob"}),
    ],
)
def test_what_the_account_of_stages_may(rendering: str, bound: set[str]) -> None:
    """Starting training jobs is nothing that every run needs."""
    objects = rendered(rendering)
    bindings = [item for item in objects if item["kind"] == "RoleBinding"]
    assert {binding["roleRef"]["name"] for binding in bindings} == bound
    account = one(objects, "ServiceAccount", "rapid-stage")["metadata"]
    for binding in bindings:
        one(objects, "Role", binding["roleRef"]["name"])
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "rapid-stage", "namespace": account["namespace"]}
        ]


def test_the_launcher_of_training_jobs_may_do_what_it_does() -> None:
    rules = one(rendered("everything"), "Role", "rapid-trainjob")["rules"]
    may = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert may == {
        *(("trainjobs", verb) for verb in ("create", "get", "delete")),
        ("trainingruntimes", "get"),
        *(("pods", verb) for verb in ("get", "list", "watch")),
        ("pods/log", "get"),
    }


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_who_submits_may_give_runs_the_account_of_stages_and_no_other(rendering: str) -> None:
    rules = one(rendered(rendering), "Role", "rapid-submitter")["rules"]
    assert [(rule["verbs"], rule["resourceNames"]) for rule in rules if "serviceaccounts" in rule["resources"]] == [
        (["use"], [ClusterConfig().service_account])
    ]


@pytest.mark.parametrize("rendering", ["gpu", "everything", "shared"])
def test_no_secret_is_made_by_a_manifest(rendering: str) -> None:
    assert not [item for item in rendered(rendering) if item["kind"] == "Secret"]


def test_secrets_of_the_local_overlay_say_that_they_are_none() -> None:
    import base64

    secrets = {item["metadata"]["name"]: item["data"] for item in rendered("local") if item["kind"] == "Secret"}
    assert secrets.keys() == {"rapid-s3", "rapid-postgres"}
    for data in secrets.values():
        for value in data.values():
            assert base64.b64decode(value).startswith(b"local-only")


def test_no_file_but_that_of_the_local_overlay_holds_a_value() -> None:
    """Secrets, and generators of some."""
    holders = {
        path.relative_to(K8S).as_posix()
        for path in K8S.rglob("*.yaml")
        if re.search(r"^kind: Secret$|^secretGenerator:|^\s+stringData:", path.read_text(), re.MULTILINE)
    }
    assert holders == {"overlays/local/kustomization.yaml"}


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_every_reference_is_documented_with_its_key(rendering: str) -> None:
    text = SECRETS.read_text()
    told = set(re.findall(r"`([^`]+)`", text))
    for name, key in references(rendered(rendering)):
        assert name in told, f"{name} is not in {SECRETS.name}"
        assert key is None or key in told, f"{name}: {key} is not in {SECRETS.name}"


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_credentials_are_in_no_argument(rendering: str) -> None:
    """Arguments are seen by all who see processes; what stands in them as $(NAME) is put in by Kubernetes."""
    for pod in pods(rendered(rendering)):
        for container in pod.containers:
            secret = {e["name"] for e in container.get("env", []) if "secretKeyRef" in e.get("valueFrom", {})}
            words = " ".join([*container.get("command", []), *container.get("args", [])])
            assert not secret & set(re.findall(r"\$\(([A-Z_]+)\)", words)), pod.name
            assert not re.search(r"://[^/\s]*:[^/\s]*@", words), pod.name


def references(objects: list[Object]) -> set[tuple[str, str | None]]:
    """Secrets and config maps that pods read, with the key where they read one."""
    found: set[tuple[str, str | None]] = set()
    for pod in pods(objects):
        for container in pod.containers:
            for entry in container.get("env", []):
                for ref in (v for k, v in entry.get("valueFrom", {}).items() if k.endswith("KeyRef")):
                    found.add((ref["name"], ref["key"]))
            for entry in container.get("envFrom", []):
                found |= {(ref["name"], None) for ref in entry.values() if isinstance(ref, dict)}
        for volume in pod.spec.get("volumes", []):
            if "secret" in volume:
                found.add((volume["secret"]["secretName"], None))
    return found


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_what_pods_refer_to_is_made_here_or_by_hand(rendering: str) -> None:
    """Names of the pipeline's settings, which stages are compiled with."""
    objects = rendered(rendering)
    environment = one(objects, "ConfigMap", "rapid-environment")
    assert environment["data"].keys() == {"AWS_ENDPOINT_URL", "AWS_REGION", "MLFLOW_TRACKING_URI", "RAPID_BUCKET"}
    one(objects, "PersistentVolumeClaim", "rapid-cache")
    service = one(objects, "Service", "rapid-mlflow")
    assert environment["data"]["MLFLOW_TRACKING_URI"] == f"http://rapid-mlflow:{service['spec']['ports'][0]['port']}"
    assert {name for name, _ in references(objects)} == {"rapid-environment", "rapid-s3", "rapid-postgres"}
    accounts = {item["metadata"]["name"] for item in objects if item["kind"] == "ServiceAccount"}
    assert accounts == {"rapid-stage", "rapid-train", "rapid-services"}


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_exceptions_from_policy_checks_give_a_reason(rendering: str) -> None:
    for item in rendered(rendering):
        for key, value in item["metadata"].get("annotations", {}).items():
            if key.startswith("checkov.io/skip"):
                check, _, reason = value.partition("=")
                assert re.fullmatch(r"CKV2?_K8S_\d+", check), value
                assert len(reason.split()) > 5, value
