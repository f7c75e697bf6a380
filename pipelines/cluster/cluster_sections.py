"""Sections of the cluster's settings: the resources of the stages' pods, secrets and volumes."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from components.contract.section import Count, Section, StageName

# The forms that KFP accepts; Kubernetes also accepts exponents.
CpuQuantity = Annotated[str, Field(pattern=r"^(\d+(\.\d+)?|\d+m)$", description="cores, or 1/1000 of them: 4, 500m")]
MemoryQuantity = Annotated[str, Field(pattern=r"^\d+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?$", description="bytes: 16Gi")]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Toleration(Section):
    """A Kubernetes toleration, with the field names of Kubernetes."""

    key: str | None = Field(default=None, description="null: every taint")
    operator: str = Field(default="Equal", pattern="^(Equal|Exists)$")
    value: str | None = None
    effect: str | None = Field(
        default=None, pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$", description="null: every effect"
    )
    tolerationSeconds: int | None = Field(default=None, description="for NoExecute; null: for ever")

    @model_validator(mode="after")
    def _as_kubernetes_wants_it(self) -> "Toleration":
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists takes no value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("without a key the operator must be Exists")
        return self


class SecretKeys(Section):
    """Keys of a secret as environment variables of a stage."""

    name: ObjectName
    keys: dict[str, VariableName] = Field(min_length=1, description="key of the secret: environment variable")
    optional: bool = Field(default=False, description="start without the secret if it does not exist")


class StagePlacement(Section):
    """The resources of a stage's pod, and the nodes it may run on."""

    image: str | None = Field(
        default=None, min_length=1, description="null: <prefix>/<stage>:<tag> of images, or the cpu image"
    )
    cpu: CpuQuantity = Field(default="2", description="limit")
    memory: MemoryQuantity = Field(default="8Gi", description="limit")
    cpu_request: CpuQuantity | None = Field(default=None, description="null: as much as cpu")
    memory_request: MemoryQuantity | None = Field(default=None, description="null: as much as memory")
    accelerator: str = Field(
        default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$", description="extended resource"
    )
    accelerators: int = Field(default=0, ge=0, description="number of accelerators")
    node_selector: dict[str, str] = Field(default={}, description="labels that the node must have")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="taints that the node may have")
    shared_memory: MemoryQuantity | None = Field(
        default=None, description="size of /dev/shm, which counts towards memory; null: the runtime's 64 MiB"
    )
    scratch: MemoryQuantity = Field(
        default="10Gi", description="size of /tmp, which holds policies and parts temporarily"
    )
    timeout_minutes: Count = Field(
        default=120, description="limit of a task; of an iteration where a worker serves the stage for the whole run"
    )
    retries: int = Field(
        default=3, ge=0, le=100, description="starts after a crash, in the same pod; counted anew after each commit"
    )
    secrets: tuple[SecretKeys, ...] = Field(default=(), description="further secrets, such as the API key of a judge")

    @field_validator("cpu", "memory", "cpu_request", "memory_request", "shared_memory", "scratch", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class Backoff(Section):
    """Delay before a crashed stage is started again; each delay is `factor` times the one before."""

    seconds: Count = 30
    factor: Count = 2
    max_seconds: Count = 900


class SecretName(Section):
    """A secret by name; only pods read its content."""

    shorthand = "name"
    name: ObjectName
    optional: bool = Field(default=False, description="start without the secret if it does not exist")


class Secrets(Section):
    """The secrets with credentials. Which stages receive each one is fixed.

    Fields that are omitted from a secret keep their defaults for that secret.
    """

    s3: SecretName = Field(
        default=SecretName(name="rapid-s3"), description="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY; every stage"
    )
    hub: SecretName = Field(default=SecretName(name="rapid-hub", optional=True), description="HF_TOKEN; prepare")
    mlflow: SecretName = Field(
        default=SecretName(name="rapid-mlflow", optional=True),
        description="MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD; prepare, train, publish",
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        for name, field in cls.model_fields.items():
            given = {"name": filled[name]} if isinstance(filled.get(name), str) else filled.get(name)
            if isinstance(given, dict):
                filled[name] = {**field.default.model_dump(), **given}
        return filled


class TrainJob(Section):
    """Training in a Kubeflow Trainer job on `train.nodes` nodes.

    One job trains the whole run, in layout tasks one iteration. Each node requests the resources of `train`; the pod
    that launches and follows the job is small.
    """

    runtime: ObjectName = Field(default="rapid-train", description="TrainingRuntime of the training pods")
    queue: str = Field(default="", pattern=r"^[a-z0-9.-]*$", description="Kueue local queue; empty: none")
    resources: dict[str, str] = Field(
        default={}, description="further resources of each node, such as a network adapter: {rdma/ib: '1'}"
    )


class Cache(Section):
    """A persistent volume for downloaded models and compiled kernels."""

    shorthand = "claim"
    claim: ObjectName = Field(default="rapid-cache", description="PersistentVolumeClaim, mounted at /cache")


Device = Literal["gpu", "cpu"]
Layout = Literal["workers", "pod", "tasks"]
PodName = StageName | Literal["pod"]
"""A kind of pod: a stage, or all stages of the loop together."""

_SMALL = {"cpu": "2", "cpu_request": "100m", "memory_request": "512Mi"}

PRESETS: dict[Device, dict[PodName, dict[str, Any]]] = {
    # For models of 0.5 to 1.5 billion parameters: one GPU for sampling and one for training, or in the layouts pod and
    # tasks one for both in turn.
    "gpu": {
        "prepare": {"cpu": "2", "memory": "8Gi", "scratch": "20Gi", "timeout_minutes": 120},
        "rollout": {
            "cpu": "8",
            "memory": "32Gi",
            "accelerators": 1,
            "shared_memory": "8Gi",
            "scratch": "30Gi",
            "timeout_minutes": 720,
        },
        "reward": {"cpu": "8", "memory": "16Gi", "scratch": "10Gi", "timeout_minutes": 360},
        "train": {
            "cpu": "8",
            "memory": "48Gi",
            "accelerators": 1,
            "shared_memory": "8Gi",
            "scratch": "60Gi",
            "timeout_minutes": 720,
        },
        "publish": {"cpu": "2", "memory": "8Gi", "scratch": "10Gi", "timeout_minutes": 60},
        "pod": {
            "cpu": "16",
            "memory": "96Gi",
            "accelerators": 1,
            "shared_memory": "16Gi",
            "scratch": "100Gi",
            "timeout_minutes": 720,
        },
    },
    # For tiny policies on a laptop's cluster (kind, minikube): limits of two cores, and requests that one node of two
    # cores can give to all of them beside its own pods, those of Kubeflow Pipelines and MLflow.
    "cpu": {
        "prepare": {**_SMALL, "memory": "2Gi", "scratch": "5Gi", "timeout_minutes": 60},
        "rollout": {
            **_SMALL,
            "memory": "6Gi",
            "memory_request": "2Gi",
            "shared_memory": "1Gi",
            "scratch": "5Gi",
            "timeout_minutes": 240,
        },
        "reward": {**_SMALL, "memory": "2Gi", "scratch": "2Gi", "timeout_minutes": 240},
        "train": {
            **_SMALL,
            "memory": "4Gi",
            "memory_request": "1Gi",
            "shared_memory": "1Gi",
            "scratch": "5Gi",
            "timeout_minutes": 240,
        },
        "publish": {**_SMALL, "memory": "2Gi", "scratch": "2Gi", "timeout_minutes": 60},
        "pod": {
            **_SMALL,
            "memory": "8Gi",
            "memory_request": "3Gi",
            "shared_memory": "2Gi",
            "scratch": "10Gi",
            "timeout_minutes": 240,
        },
    },
}
