"""The resources, secrets and volumes of each stage's pod in the compiled pipeline."""

from pathlib import Path

import pytest

from pipelines.cluster.cluster_config import PODS, STAGES, ClusterConfig
from tests.support.compiled import Compiled, compiled

S3 = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
HUB = {"HF_TOKEN"}
MLFLOW = {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
JUDGE = {"name": "judge", "keys": {"api-key": "JUDGE_API_KEY"}, "optional": True}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    cluster = ClusterConfig.model_validate({"reward": {"secrets": [JUDGE]}})
    return compiled(tmp_path_factory.mktemp("placed") / "rapid.yaml", cluster)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Layout tasks, in a queue."""
    cluster = ClusterConfig(layout="tasks", max_iterations=1, queue="rapid", pod_retries=4)
    return compiled(tmp_path_factory.mktemp("tasks") / "rapid.yaml", cluster)


@pytest.fixture(scope="module")
def one_pod(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    cluster = ClusterConfig.model_validate({"layout": "pod", "pod": {"secrets": [JUDGE]}})
    return compiled(tmp_path_factory.mktemp("pod") / "rapid.yaml", cluster)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Without GPUs and without a cache volume."""
    taints = [{"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]
    train = {"node_selector": {"disk": "ssd"}, "tolerations": [*taints, {"operator": "Exists"}]}
    cluster = ClusterConfig.model_validate({"device": "cpu", "cache": None, "images": "here/rapid:dev", "train": train})
    return compiled(tmp_path_factory.mktemp("laptop") / "rapid.yaml", cluster)


def channel(name: str) -> str:
    return f"{{{{$.inputs.parameters['pipelinechannel--{name}']}}}}"


@pytest.mark.parametrize("stage", STAGES)
def test_resources_are_compiled_in_but_for_the_gpus(pipeline: Compiled, stage: str) -> None:
    container, placement = pipeline.container(stage), ClusterConfig().placement(stage)
    resources = container["resources"]
    assert {resources["resourceCpuRequest"], resources["resourceCpuLimit"]} == {placement.cpu}
    assert {resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]} == {placement.memory}
    if stage in ("rollout", "train"):
        assert container["image"] == channel(f"{stage}_image")
        assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
        assert resources["accelerator"]["resourceCount"] == channel(f"{stage}_accelerators")
    else:
        assert container["image"] == ClusterConfig().image(stage)
        assert "accelerator" not in resources


def test_requests_nodes_and_taints(laptop: Compiled) -> None:
    resources = laptop.container("train")["resources"]
    assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == ("100m", "2")
    assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == ("1Gi", "4Gi")
    asks = laptop.kubernetes("train")
    assert asks["nodeSelector"]["labels"] == {"disk": "ssd"}
    assert asks["tolerations"] == [
        {"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "60"},
        {"operator": "Exists"},
    ]
    assert not {"nodeSelector", "tolerations"} & laptop.kubernetes("reward").keys()


@pytest.mark.parametrize(
    ("stage", "secrets"),
    [
        ("prepare", {"rapid-s3": S3, "rapid-hub": HUB, "rapid-mlflow": MLFLOW}),
        ("rollout", {"rapid-s3": S3}),
        ("reward", {"rapid-s3": S3, "judge": {"JUDGE_API_KEY"}}),
        ("train", {"rapid-s3": S3, "rapid-mlflow": MLFLOW}),
        ("publish", {"rapid-s3": S3, "rapid-mlflow": MLFLOW}),
    ],
)
def test_a_stage_is_given_the_secrets_it_needs_and_no_others(
    pipeline: Compiled, stage: str, secrets: dict[str, set[str]]
) -> None:
    given = {secret["secretName"]: secret for secret in pipeline.kubernetes(stage)["secretAsEnv"]}
    assert {name: {key["envVar"] for key in secret["keyToEnv"]} for name, secret in given.items()} == secrets
    required = {name for name, secret in given.items() if not secret["optional"]}
    assert required == {"rapid-s3"}


@pytest.mark.parametrize("stage", STAGES)
def test_endpoints_come_from_a_config_map_whose_keys_may_be_missing(pipeline: Compiled, stage: str) -> None:
    (endpoints,) = pipeline.kubernetes(stage)["configMapAsEnv"]
    assert endpoints["configMapName"] == "rapid-environment"
    assert endpoints["optional"]
    keys = {key["configMapKey"]: key["envVar"] for key in endpoints["keyToEnv"]}
    assert keys == {name: name for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "MLFLOW_TRACKING_URI")}


@pytest.mark.parametrize("stage", STAGES)
def test_writable_places(pipeline: Compiled, stage: str) -> None:
    mounts = {mount["mountPath"]: mount for mount in pipeline.kubernetes(stage)["emptyDirMounts"]}
    placement = ClusterConfig().placement(stage)
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
    assert [(mount["constant"], mount["mountPath"]) for mount in mounts] == [("rapid-cache", "/cache")]
    assert variables == {
        "HF_HOME": "/cache/huggingface",
        "VLLM_CACHE_ROOT": "/cache/vllm",
        "TORCHINDUCTOR_CACHE_DIR": "/cache/inductor",
        "TRITON_CACHE_DIR": "/cache/triton",
    }


@pytest.mark.parametrize("stage", STAGES)
def test_labels_and_user(pipeline: Compiled, stage: str) -> None:
    asks = pipeline.kubernetes(stage)
    assert asks["podMetadata"]["labels"] == {
        "app.kubernetes.io/part-of": "rapid",
        "app.kubernetes.io/component": stage,
        "rapid-rl/layout": "workers",
    }
    assert asks["securityContext"] == {"runAsNonRoot": True}


def test_only_what_ends_with_its_work_has_a_deadline(pipeline: Compiled, tasks: Compiled, one_pod: Compiled) -> None:
    found = [
        {name for name in labels if "activeDeadlineSeconds" in compiled_.kubernetes(name)}
        for compiled_, labels in ((pipeline, STAGES), (tasks, STAGES), (one_pod, PODS["pod"]))
    ]
    assert found == [{"prepare", "publish"}, set(STAGES), {"prepare", "publish"}]
    assert int(tasks.kubernetes("rollout")["activeDeadlineSeconds"]) == ClusterConfig().rollout.timeout_minutes * 60


def test_the_pod_with_all_stages_has_what_they_need_but_the_hub(one_pod: Compiled) -> None:
    given = {secret["secretName"]: secret for secret in one_pod.kubernetes("pod")["secretAsEnv"]}
    assert {name: {key["envVar"] for key in secret["keyToEnv"]} for name, secret in given.items()} == {
        "rapid-s3": S3,
        "rapid-mlflow": MLFLOW,
        "judge": {"JUDGE_API_KEY"},
    }
    assert one_pod.container("pod")["image"] == channel("pod_image")
    assert one_pod.container("pod")["resources"]["accelerator"]["resourceCount"] == channel("pod_accelerators")
    mounts = {mount["mountPath"]: mount for mount in one_pod.kubernetes("pod")["emptyDirMounts"]}
    assert mounts["/dev/shm"]["sizeLimit"] == "16Gi"
    assert [mount["mountPath"] for mount in one_pod.kubernetes("pod")["pvcMount"]] == ["/cache"]


def test_pods_of_stages_wait_in_the_queue_that_the_settings_name(tasks: Compiled) -> None:
    assert {
        stage: tasks.kubernetes(stage)["podMetadata"]["labels"].get("kueue.x-k8s.io/queue-name") for stage in STAGES
    } == (dict.fromkeys(STAGES, "rapid"))


def test_pods_that_vanish_are_started_again_and_no_window_ends_a_healthy_one(
    pipeline: Compiled, tasks: Compiled
) -> None:
    """Argo counts the window from the start of the first pod, and takes whole numbers."""
    for found, count in ((pipeline, 50), (tasks, 4)):
        policies = {found.executor(task): task["retryPolicy"] for _, task in found.tasks() if found.executor(task)}
        policy = {"backoffDuration": "30s", "backoffFactor": 1.0, "backoffMaxDuration": "31536000s"}
        assert policies == {f"exec-{stage}": {"maxRetryCount": count, **policy} for stage in STAGES}


def test_without_gpus_and_a_cache(laptop: Compiled) -> None:
    assert "/cache" not in laptop.text
    assert "accelerator" not in laptop.text
    inputs = laptop.spec["root"]["inputDefinitions"]["parameters"]
    assert {inputs[f"{stage}_image"]["defaultValue"] for stage in ("rollout", "train")} == {"here/rapid/cpu:dev"}
    assert laptop.container("reward")["image"] == "here/rapid/cpu:dev"


def test_no_credential_of_whoever_compiles_is_in_the_pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*S3, *HUB, *MLFLOW, "AWS_SESSION_TOKEN", "JUDGE_API_KEY"):
        monkeypatch.setenv(name, f"planted-{name}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:planted@mlflow")
    text = compiled(tmp_path / "rapid.yaml", ClusterConfig()).text
    assert "planted" not in text
