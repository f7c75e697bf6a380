"""The resources, secrets and volumes of each stage's pod in the compiled pipeline."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.cluster_config import STAGES, ClusterConfig
from tests.support.compiled import Compiled, compiled

S3 = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
HUB = {"HF_TOKEN"}
MLFLOW = {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
JUDGE = {"name": "judge", "keys": {"api-key": "JUDGE_API_KEY"}, "optional": True}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    cluster = ClusterConfig.model_validate({"max_iterations": 1, "reward": {"retries": 1, "secrets": [JUDGE]}})
    return compiled(tmp_path_factory.mktemp("placed") / "rapid.yaml", cluster)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Without a cache volume, and with images that no run can change."""
    cluster = ClusterConfig.model_validate(
        {"max_iterations": 1, "device": "cpu", "cache": None, "image_parameters": False, "images": "here/rapid:dev"}
    )
    return compiled(tmp_path_factory.mktemp("bare") / "rapid.yaml", cluster)


def channel(name: str) -> str:
    return f"{{{{$.inputs.parameters['pipelinechannel--{name}']}}}}"


@pytest.mark.parametrize("stage", STAGES)
def test_resources_and_image_are_parameters(pipeline: Compiled, stage: str) -> None:
    container = pipeline.container(stage)
    assert container["image"] == channel(f"{stage}_image")
    assert container["resources"] == {
        "resourceCpuRequest": channel(f"{stage}_cpu"),
        "resourceCpuLimit": channel(f"{stage}_cpu"),
        "resourceMemoryRequest": channel(f"{stage}_memory"),
        "resourceMemoryLimit": channel(f"{stage}_memory"),
        "accelerator": {
            "resourceType": channel(f"{stage}_accelerator"),
            "resourceCount": channel(f"{stage}_accelerators"),
        },
    }


@pytest.mark.parametrize("stage", STAGES)
def test_node_and_taints_are_parameters(pipeline: Compiled, stage: str) -> None:
    asks = pipeline.kubernetes(stage)
    assert reference(asks["nodeSelector"]["nodeSelectorJson"]) == f"{stage}_node_selector"
    assert [reference(toleration["tolerationJson"]) for toleration in asks["tolerations"]] == [f"{stage}_tolerations"]


def reference(parameter: dict[str, str]) -> str:
    return parameter["componentInputParameter"].removeprefix("pipelinechannel--")


@pytest.mark.parametrize(
    ("stage", "secrets"),
    [
        ("prepare", {"s3_secret": S3, "hub_secret": HUB, "mlflow_secret": MLFLOW}),
        ("rollout", {"s3_secret": S3}),
        ("reward", {"s3_secret": S3, "judge": {"JUDGE_API_KEY"}}),
        ("train", {"s3_secret": S3, "mlflow_secret": MLFLOW}),
        ("publish", {"s3_secret": S3, "mlflow_secret": MLFLOW}),
    ],
)
def test_a_stage_is_given_the_secrets_it_needs_and_no_others(
    pipeline: Compiled, stage: str, secrets: dict[str, set[str]]
) -> None:
    given = {named(secret): secret for secret in pipeline.kubernetes(stage)["secretAsEnv"]}
    assert {name: {key["envVar"] for key in secret["keyToEnv"]} for name, secret in given.items()} == secrets
    required = {name for name, secret in given.items() if not secret["optional"]}
    assert required == {"s3_secret"}


def named(secret: dict[str, Any]) -> str:
    """By parameter or, of what is fixed, by name."""
    parameter = secret["secretNameParameter"]
    return reference(parameter) if "componentInputParameter" in parameter else secret["secretName"]


@pytest.mark.parametrize("stage", STAGES)
def test_endpoints_come_from_a_config_map_whose_keys_may_be_missing(pipeline: Compiled, stage: str) -> None:
    (endpoints,) = pipeline.kubernetes(stage)["configMapAsEnv"]
    assert reference(endpoints["configMapNameParameter"]) == "environment"
    assert endpoints["optional"]
    keys = {key["configMapKey"]: key["envVar"] for key in endpoints["keyToEnv"]}
    assert keys == {name: name for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "MLFLOW_TRACKING_URI")}


@pytest.mark.parametrize("stage", STAGES)
def test_writable_places(pipeline: Compiled, stage: str) -> None:
    mounts = {mount["mountPath"]: mount for mount in pipeline.kubernetes(stage)["emptyDirMounts"]}
    placement = ClusterConfig().stage(stage)
    assert mounts["/tmp"]["sizeLimit"] == placement.scratch
    assert "medium" not in mounts["/tmp"]
    assert ("/dev/shm" in mounts) == (stage in ("rollout", "train"))
    if "/dev/shm" in mounts:
        assert (mounts["/dev/shm"]["medium"], mounts["/dev/shm"]["sizeLimit"]) == ("Memory", "8Gi")


@pytest.mark.parametrize("stage", STAGES)
def test_the_cache_outlives_pods_of_stages_that_fetch_or_compile(pipeline: Compiled, stage: str) -> None:
    mounts = pipeline.kubernetes(stage).get("pvcMount", [])
    variables = {variable["name"]: variable["value"] for variable in pipeline.container(stage).get("env", [])}
    if stage not in ("prepare", "rollout", "train"):
        assert (mounts, variables) == ([], {})
        return
    assert [(reference(mount["pvcNameParameter"]), mount["mountPath"]) for mount in mounts] == [("cache", "/cache")]
    assert variables == {
        "HF_HOME": "/cache/huggingface",
        "VLLM_CACHE_ROOT": "/cache/vllm",
        "TORCHINDUCTOR_CACHE_DIR": "/cache/inductor",
        "TRITON_CACHE_DIR": "/cache/triton",
    }


@pytest.mark.parametrize("stage", STAGES)
def test_labels_user_and_time_out(pipeline: Compiled, stage: str) -> None:
    asks = pipeline.kubernetes(stage)
    assert asks["podMetadata"]["labels"] == {
        "app.kubernetes.io/part-of": "rapid",
        "app.kubernetes.io/component": stage,
    }
    assert asks["securityContext"] == {"runAsNonRoot": True}
    assert int(asks["activeDeadlineSeconds"]) == ClusterConfig().stage(stage).timeout_minutes * 60


def test_pods_of_stages_wait_in_the_queue_that_the_settings_name(tmp_path: Path) -> None:
    queued = compiled(tmp_path / "rapid.yaml", ClusterConfig(max_iterations=1, queue="rapid"))
    assert {
        stage: queued.kubernetes(stage)["podMetadata"]["labels"].get("kueue.x-k8s.io/queue-name") for stage in STAGES
    } == (dict.fromkeys(STAGES, "rapid"))


def test_every_task_of_a_stage_is_tried_again_after_a_while(pipeline: Compiled) -> None:
    found = {}
    for _, task in pipeline.tasks():
        if label := pipeline.executor(task):
            found[label.removeprefix("exec-")] = task["retryPolicy"]
    backoff = {"backoffDuration": "30s", "backoffFactor": 2.0, "backoffMaxDuration": "900s"}
    retries = {stage: 1 if stage == "reward" else 3 for stage in STAGES}
    assert found == {stage: {"maxRetryCount": retries[stage], **backoff} for stage in STAGES}


def test_without_a_cache_or_images_to_choose(bare: Compiled) -> None:
    assert "/cache" not in bare.text
    images = {stage: bare.container(stage)["image"] for stage in STAGES}
    assert images == dict.fromkeys(STAGES, "here/rapid/cpu:dev")


def test_no_credential_of_whoever_compiles_is_in_the_pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*S3, *HUB, *MLFLOW, "AWS_SESSION_TOKEN", "JUDGE_API_KEY"):
        monkeypatch.setenv(name, f"planted-{name}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:planted@mlflow")
    text = compiled(tmp_path / "rapid.yaml", ClusterConfig(max_iterations=1)).text
    assert "planted" not in text
