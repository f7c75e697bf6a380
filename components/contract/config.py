"""The configuration of a run: one pydantic model, a section per stage."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from components.contract.credentials import credentials_in, has_user
from components.contract.section import Count, Fraction, Positive, Section
from components.contract.train_config import TrainSection


def _without_user(location: str) -> str:
    # The configuration is stored in the run, compiled into pipelines and logged.
    if has_user(location):
        raise PydanticCustomError(
            "credentials",
            "must not hold a user name or a password; set AWS_ACCESS_KEY_ID and its secret in the environment instead",
        )
    return location


_Location = Annotated[str, AfterValidator(_without_user)]


class RunSection(Section):
    """Identity of the fine-tune. The same name continues the same run."""

    shorthand = "name"
    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$", description="folder of the run in the store")
    seed: int = Field(default=0, ge=0, lt=2**31, description="every random draw derives from it")


class StoreSection(Section):
    """Where runs live: a directory, `file:///path` or `s3://bucket/prefix`."""

    shorthand = "uri"
    uri: _Location = Field(default="rapid-store", min_length=1)


class ModelSection(Section):
    """The base policy."""

    shorthand = "path"
    path: _Location = Field(
        min_length=1,
        description="Hugging Face directory (local, s3://, file:///), hub name, or models:/NAME@champion of MLflow",
    )
    revision: str | None = Field(default=None, description="branch, tag or commit of a hub name")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="bfloat16", description="weights of published policies and of the rollout engine"
    )
    max_length: Count = Field(default=2048, description="prompt plus completion, tokens")


class DataSection(Section):
    """Prompts: JSONL or Parquet with plain, TRL or verl columns, or `reasoning_gym:<name>`.

    A directory, a prefix that ends in `/` or a pattern with `*` stands for every file it holds when the run is
    prepared. Files may lie on the machine or in `s3://`.
    """

    shorthand = "train"
    train: _Location = Field(
        min_length=1, description="file, directory or pattern of training prompts, or reasoning_gym:<name>"
    )
    eval: _Location | None = Field(default=None, description="source of held-out prompts; else split off from train")
    options: dict[str, Any] = Field(
        default_factory=dict, description="settings of a generator: size, and what makes its tasks hard"
    )
    eval_prompts: int = Field(default=64, ge=0, description="held-out prompts kept; 0 switches evaluation off")
    max_bad_share: Fraction = Field(default=0.01, description="share of malformed rows that is tolerated")
    chat: Literal["auto", "always", "never"] = Field(
        default="auto", description="apply the tokenizer's chat template; auto: where it has one"
    )
    system_prompt: str | None = Field(default=None, description="system message put before plain prompts")


class EngineSection(Section):
    """Engine settings that change speed and memory, never what is sampled from."""

    max_num_seqs: Count = Field(default=256, description="sequences decoded together")
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    cpu_kv_cache_gib: Count = Field(default=1, description="KV cache when there is no GPU")
    enforce_eager: bool | None = Field(
        default=None, description="skip CUDA graphs and compilation; null: only where there is no GPU"
    )
    tensor_parallel_size: Count = 1


class RolloutSection(Section):
    """Sampling of training completions."""

    group_size: int = Field(default=8, ge=2, description="completions per prompt: the group of the baseline")
    max_tokens: Count = Field(default=512, description="longest completion")
    temperature: Positive = 1.0
    top_p: float = 1.0
    top_k: int = Field(default=0, description="0: off")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="strings that end a completion"
    )
    oversampling: float = Field(
        default=1.0, ge=1.0, description="prompts drawn per prompt trained on, where groups without signal are dropped"
    )
    shards: Annotated[int, Field(ge=1, le=256)] = Field(default=1, description="rollout tasks side by side")
    part_groups: Count = Field(default=256, description="groups per Parquet part: the unit that resumes")
    engine: EngineSection = EngineSection()

    @field_validator("top_p")
    @classmethod
    def _whole_distribution(cls, value: float) -> float:
        if value != 1.0:
            raise ValueError(
                "training rollouts need top_p = 1: nucleus sampling renormalises the behaviour distribution "
                "and the importance weights would be wrong; lower the temperature instead"
            )
        return value

    @field_validator("top_k")
    @classmethod
    def _no_truncation(cls, value: int) -> int:
        if value not in (0, -1):
            raise ValueError("training rollouts need top_k off (0): truncated sampling renormalises the distribution")
        return 0


class GraderSpec(Section):
    """One grader and its weight in the reward."""

    shorthand = "name"
    name: str = Field(min_length=1, description="built-in grader, or package.module:function")
    label: str | None = Field(
        default=None, min_length=1, description="name of its component; null: the grader's. For two of one grader"
    )
    weight: float = 1.0
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the grader")

    @property
    def component(self) -> str:
        """What it is called among a reward's components."""
        return self.label or self.name

    @field_validator("options")
    @classmethod
    def _no_credentials(cls, value: dict[str, Any]) -> dict[str, Any]:
        # The configuration is stored in the run, compiled into pipelines and logged.
        if wrong := credentials_in(value):
            raise PydanticCustomError(
                "credentials",
                "{names} must not hold a credential; put it into an environment variable and name that one (key_env)",
                {"names": ", ".join(wrong)},
            )
        return value


class SandboxSection(Section):
    """Where programs that models wrote run, and what each may use."""

    shorthand = "mode"
    mode: Literal["auto", "namespaces", "landlock"] = Field(
        default="auto", description="auto: namespaces (bubblewrap) where they are allowed, else Landlock"
    )
    unsafe: bool = Field(default=False, description="where neither holds, run programs with your own rights")
    seconds: Positive = Field(default=8.0, description="wall clock of a program with all its tests")
    cpu_seconds: Count = Field(default=8, description="CPU time of a process")
    memory_mib: int = Field(default=512, ge=64, description="address space of a process")
    processes: int = Field(
        default=1, ge=1, le=64, description="1: a program starts no others, but threads; more: both together"
    )
    file_mib: Count = Field(default=16, description="largest file, and all files of a program together")
    output_kib: Count = Field(default=1024, description="what is read of a program's output")


class RewardSection(Section):
    """Scoring of completions: the weighted sum of graders."""

    shorthand = "graders"
    graders: tuple[GraderSpec, ...] = Field(default=(GraderSpec(name="math"),), min_length=1)
    time_limit: Positive = Field(default=10.0, description="seconds per completion")
    workers: int = Field(default=0, ge=0, description="grading processes; 0: one per core")
    batch_size: Count = Field(default=16, description="completions given at once to a grader that takes several")
    max_failed_share: Fraction = Field(
        default=0.5, description="stop when more completions than this time out, raise or return NaN"
    )
    sandbox: SandboxSection = SandboxSection()

    @field_validator("graders", mode="before")
    @classmethod
    def _one_grader(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value

    @field_validator("graders")
    @classmethod
    def _distinct(cls, value: tuple[GraderSpec, ...]) -> tuple[GraderSpec, ...]:
        names = [grader.component for grader in value]
        if len(set(names)) < len(names):
            raise ValueError(f"a grader is named twice: {', '.join(names)}; give one of the two a label of its own")
        return value


class EvaluateSection(Section):
    """Sampling of held-out prompts, in the engine session of the rollouts."""

    samples: Count = Field(default=8, description="completions per held-out prompt")
    temperature: Positive = 1.0
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    max_tokens: Count | None = Field(default=None, description="null: as in training")
    pass_k: tuple[Count, ...] = Field(default=(1, 8), min_length=1, description="k of the pass@k that are reported")
    pass_threshold: float = Field(default=1.0, description="a completion passes from this reward on")

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if max(self.pass_k) > self.samples:
            raise ValueError(
                f"pass_k {max(self.pass_k)} needs at least as many samples, which are {self.samples}; "
                "raise evaluate.samples or lower evaluate.pass_k"
            )
        return self


class TrackingSection(Section):
    """MLflow. `MLFLOW_TRACKING_URI` in the environment goes before `uri`."""

    shorthand = "uri"
    enabled: bool = True
    uri: str | None = Field(default=None, description="null: MLFLOW_TRACKING_URI, else SQLite beside the store")
    experiment: str = Field(default="rapid", min_length=1)
    model_name: str | None = Field(default=None, description="registered model; null: the run's name")

    @field_validator("uri")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        # The configuration is stored in the run, compiled into pipelines and logged. A password may hold slashes,
        # so any @ counts; only where no host is named (sqlite:///) it belongs to a path.
        rest = (value or "").partition("://")[2]
        if "?" in rest or ("@" in rest and not rest.startswith("/")):
            raise PydanticCustomError(
                "credentials",
                "must not hold a user name, a password or a query string; set MLFLOW_TRACKING_URI, or "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, in the environment",
            )
        return value


class LoopSection(Section):
    """Iterations of rollout, reward and training."""

    iterations: int = Field(default=4, ge=0, le=48, description="0: evaluate only")
    target_reward: float | None = Field(
        default=None, description="stop once the policy's mean held-out reward reaches this"
    )
    staleness: int = Field(
        default=0, ge=0, le=1, description="1: sample for the next iteration while one trains, from the policy before"
    )


class RunConfig(Section):
    """Everything a run depends on, resolved once and stored in the run as JSON."""

    run: RunSection
    store: StoreSection = StoreSection()
    model: ModelSection
    data: DataSection
    rollout: RolloutSection = RolloutSection()
    reward: RewardSection = RewardSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    tracking: TrackingSection = TrackingSection()
    loop: LoopSection = LoopSection()

    @property
    def prompts_per_iteration(self) -> int:
        """Groups one iteration samples: k mini-batches, times `rollout.oversampling`."""
        return math.ceil(self.train.updates * self.train.mini_batch_prompts * self.rollout.oversampling)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run, which the learning-rate schedule spans."""
        return self.train.schedule_steps or max(1, self.loop.iterations * self.train.updates)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rollout.max_tokens >= self.model.max_length:
            raise ValueError(
                f"rollout.max_tokens ({self.rollout.max_tokens}) must leave room for the prompt in "
                f"model.max_length ({self.model.max_length})"
            )
        if self.evaluate.max_tokens is not None and self.evaluate.max_tokens >= self.model.max_length:
            raise ValueError(
                f"evaluate.max_tokens ({self.evaluate.max_tokens}) must leave room for the prompt in "
                f"model.max_length ({self.model.max_length})"
            )
        if self.rollout.shards > self.prompts_per_iteration:
            raise ValueError(
                f"rollout.shards ({self.rollout.shards}) exceeds the prompts of an iteration "
                f"({self.prompts_per_iteration} = train.updates x train.mini_batch_prompts x rollout.oversampling)"
            )
        if self.rollout.oversampling > 1.0 and self.train.zero_signal_groups == "keep":
            raise ValueError(
                "rollout.oversampling draws prompts to replace groups without signal, which "
                "train.zero_signal_groups=keep does not drop; set it to drop, or oversampling to 1"
            )
        if self.loop.target_reward is not None and self.data.eval_prompts == 0:
            raise ValueError("loop.target_reward is measured on held-out prompts: data.eval_prompts must not be 0")
        return self
