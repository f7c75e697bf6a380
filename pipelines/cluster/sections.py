"""Sections of the cluster's settings: what a stage's pod asks for, and where it finds what it needs."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from components.contract.section import Count, Section

# As KFP takes them; Kubernetes itself would also take exponents.
CpuQuantity = Annotated[str, Field(pattern=r"^(\d+(\.\d+)?|\d+m)$", description="cores, or 1/1000 of them: 4, 500m")]
MemoryQuantity = Annotated[str, Field(pattern=r"^\d+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?$", description="bytes: 16Gi")]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Toleration(Section):
    """A taint that a pod may be placed in spite of, with the field names of Kubernetes."""

    key: str | None = Field(default=None, description="null: every taint")
    operator: str = Field(default="Equal", pattern="^(Equal|Exists)$")
    value: str | None = None
    effect: str | None = Field(
        default=None, pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$", description="null: every effect"
    )
    tolerationSeconds: int | None = Field(default=None, description="of NoExecute: how long; null: for ever")

    @model_validator(mode="after")
    def _as_kubernetes_wants_it(self) -> "Toleration":
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists takes no value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("without a key the operator is Exists")
        return self


class SecretKeys(Section):
    """Keys of a secret as environment variables of a stage."""

    name: ObjectName
    keys: dict[str, VariableName] = Field(min_length=1, description="key of the secret: environment variable")
    optional: bool = Field(default=False, description="start without it where it does not exist")


class StagePlacement(Section):
    """What the pod of a stage asks for, and where it may run."""

    image: str | None = Field(
        default=None, min_length=1, description="null: <prefix>/<stage>:<tag> of images, or its cpu image"
    )
    cpu: CpuQuantity = "2"
    memory: MemoryQuantity = "8Gi"
    accelerator: str = Field(
        default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$", description="extended resource"
    )
    accelerators: int = Field(default=0, ge=0, description="how many of them; 0: none")
    node_selector: dict[str, str] = Field(default={}, description="labels that a node must have")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="taints that a node may have")
    shared_memory: MemoryQuantity | None = Field(
        default=None, description="size of /dev/shm, which counts as memory of the pod; null: the runtime's 64 MiB"
    )
    scratch: MemoryQuantity = Field(default="10Gi", description="size of /tmp, where policies and parts pass through")
    timeout_minutes: Count = Field(default=120, description="a pod that has not ended by then is ended")
    retries: int = Field(default=3, ge=0, le=10, description="starts after a failed one; what is committed is kept")
    secrets: tuple[SecretKeys, ...] = Field(default=(), description="more secrets, for example the key of a judge")

    @field_validator("cpu", "memory", "shared_memory", "scratch", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class Backoff(Section):
    """How long to wait before a failed pod is started again: after each failure `factor` times longer."""

    seconds: Count = 30
    factor: float = Field(default=2.0, ge=1.0)
    max_seconds: Count = 900


class SecretName(Section):
    """A secret by name; its content is nobody's business but the pod's."""

    shorthand = "name"
    name: ObjectName
    optional: bool = Field(default=False, description="start without it where it does not exist")


class Secrets(Section):
    """Where credentials lie; which stage gets which is fixed.

    What is left out of a secret is as it is for that secret by default.
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
    """Training as a Kubeflow Trainer job, on as many nodes as the run says (`train.nodes`).

    Each node asks for what `train` says; the pod that launches the job and follows it is a small one.
    """

    runtime: ObjectName = Field(default="rapid-train", description="TrainingRuntime: what all training pods have")
    queue: str = Field(default="", pattern=r"^[a-z0-9.-]*$", description="Kueue's local queue; empty: none")
    resources: dict[str, str] = Field(
        default={}, description="more of each node than train says, such as the network adapter: {rdma/ib: '1'}"
    )


class Cache(Section):
    """A volume that outlives pods, for downloaded models and compiled kernels."""

    shorthand = "claim"
    claim: ObjectName = Field(default="rapid-cache", description="PersistentVolumeClaim, mounted at /cache")
