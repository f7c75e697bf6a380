"""The configuration of a run: one pydantic model, a section per stage."""

import datetime
import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from components.contract.reward_config import RewardSection
from components.contract.rollout_config import EvaluateSection, RolloutSection
from components.contract.section import Count, Fraction, Location, Section, affects
from components.contract.train_config import EXACT_GAP, ROUNDED_GAP, TrainSection

_RUN_NAME = r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$"
_MODEL_NAME = re.compile(r"[\w.+-](?:[\w .+-]*[\w.+-])?")


class RunSection(Section):
    """Identity of the run. A run of the same name continues."""

    shorthand = "name"
    name: Annotated[str, affects()] = Field(pattern=_RUN_NAME, description="folder of the run in the store")
    seed: Annotated[int, affects("prepare", "rollout", "train")] = Field(
        default=0, ge=0, lt=2**31, description="seed of every random draw"
    )


class StoreSection(Section):
    """Storage of runs: a directory, `file:///path` or `s3://bucket/prefix`."""

    shorthand = "uri"
    uri: Location = Field(default="rapid-store", min_length=1)


class ModelSection(Section):
    """The base policy."""

    shorthand = "path"
    path: Annotated[Location, affects("prepare")] = Field(
        min_length=1,
        description="Hugging Face directory (local, s3://, file:///), hub name, or models:/NAME@champion of MLflow",
    )
    revision: Annotated[str | None, affects("prepare")] = Field(
        default=None, description="branch, tag or commit of a hub name"
    )
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], affects("rollout", "train")] = Field(
        default="bfloat16", description="dtype of published weights and of the rollout engine"
    )
    max_length: Annotated[Count, affects("prepare", "rollout")] = Field(
        default=2048, description="tokens of prompt and completion together"
    )


class DataSection(Section):
    """Prompts: JSONL or Parquet with plain, TRL or verl columns, or `reasoning_gym:<name>`.

    A directory, a prefix that ends in `/` or a pattern with `*` selects every file it contains when the run is
    prepared. Files may be local or in `s3://`.
    """

    shorthand = "train"
    train: Annotated[Location, affects()] = Field(
        min_length=1, description="file, directory or pattern of training prompts, or reasoning_gym:<name>"
    )
    eval: Annotated[Location | None, affects()] = Field(
        default=None, description="source of held-out prompts; null: a part of train"
    )
    options: Annotated[dict[str, Any], affects()] = Field(
        default_factory=dict, description="options of a generator: size and difficulty of its tasks"
    )
    eval_prompts: Annotated[int, affects("prepare")] = Field(
        default=64, ge=0, description="number of held-out prompts; 0: no evaluation"
    )
    max_bad_share: Annotated[Fraction, affects()] = Field(default=0.01, description="tolerated share of malformed rows")
    chat: Annotated[Literal["auto", "always", "never"], affects("prepare")] = Field(
        default="auto", description="whether to apply the tokenizer's chat template; auto: if it has one"
    )
    system_prompt: Annotated[str | None, affects("prepare")] = Field(
        default=None, description="system message of plain prompts"
    )
    today: Annotated[str | None, affects("prepare")] = Field(
        default=None,
        description="day that chat templates write into prompts, 2026-11-29; null: that of the first start",
    )

    replay: Annotated[tuple[Annotated[str, Field(pattern=_RUN_NAME)], ...], affects("rollout", "train")] = Field(
        default=(), description="finished runs in the same store whose completions loop.replay may choose, too"
    )

    @field_validator("today")
    @classmethod
    def _is_a_day(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return datetime.date.fromisoformat(value).isoformat()
        except ValueError:
            raise ValueError("must be a day such as 2026-11-29") from None


class TrackingSection(Section):
    """MLflow. `MLFLOW_TRACKING_URI` in the environment overrides `uri`."""

    shorthand = "uri"
    enabled: bool = True
    uri: str | None = Field(default=None, description="null: SQLite beside the store")
    experiment: str = Field(default="rapid", min_length=1)
    model_name: str | None = Field(default=None, description="registered model; null: the run's name")
    champion_margin: float = Field(
        default=2.0,
        ge=0.0,
        description="standard errors by which a policy's pass@1, paired over held-out prompts, must exceed the "
        "champion's to replace it; 0: any difference",
    )

    @field_validator("model_name")
    @classmethod
    def _can_be_registered(cls, value: str | None) -> str | None:
        # MLflow refuses some of the others and misreads the rest in a search or in models:/NAME@ALIAS.
        if value is not None and not _MODEL_NAME.fullmatch(value):
            raise ValueError("must consist of letters, digits, . _ - + and spaces, without a space at its ends")
        return value

    @field_validator("uri")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        # A password may contain slashes, so any @ counts, except in a URI without a host (sqlite:///), where it
        # belongs to the path.
        rest = (value or "").partition("://")[2]
        if "?" in rest or ("@" in rest and not rest.startswith("/")):
            raise PydanticCustomError(
                "credentials",
                "must not contain a user name, password or query string; set MLFLOW_TRACKING_URI, or "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, in the environment",
            )
        return value


_MOST_PROMPTS = 10_000_000


class ReplaySection(Section):
    """Completions of earlier iterations in this iteration's mini-batches."""

    shorthand = "share"
    share: Annotated[float, affects("rollout", "train")] = Field(
        default=0.25, gt=0.0, lt=1.0, description="of the groups of each mini-batch, rounded to whole groups"
    )
    iterations: Annotated[Count, affects("train")] = Field(default=1, description="how many iterations back")
    choice: Annotated[Literal["uniform", "advantage"], affects("train")] = Field(
        default="uniform",
        description="advantage: with a probability in proportion to the standard deviation of a group's rewards",
    )
    min_weight: Annotated[Fraction, affects("train")] = Field(
        default=0.1, description="leave out a group whose mean of min(w, 1) is below this before the first update"
    )


class LoopSection(Section):
    """Iterations of rollout, reward and train."""

    iterations: Annotated[int, affects()] = Field(default=4, ge=0, le=1_000_000, description="0: evaluate only")
    target_reward: Annotated[float | None, affects()] = Field(
        default=None, description="stop when the mean reward on held-out prompts reaches this"
    )
    staleness: Annotated[int, affects("rollout")] = Field(
        default=0,
        ge=0,
        le=1,
        description="1: sample the next iteration from the previous policy, while the newest trains",
    )
    replay: ReplaySection | None = Field(default=None, description="null: every group is trained on in one iteration")


class RunConfig(Section):
    """The configuration of a run, resolved once and stored in the run as JSON."""

    run: RunSection
    store: Annotated[StoreSection, affects()] = StoreSection()
    model: ModelSection
    data: DataSection
    rollout: RolloutSection = RolloutSection()
    reward: RewardSection = RewardSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    tracking: Annotated[TrackingSection, affects()] = TrackingSection()
    loop: LoopSection = LoopSection()

    @property
    def prompts_per_iteration(self) -> int:
        """Prompts, and so groups, that one iteration samples: k mini-batches times `rollout.oversampling`."""
        return math.ceil(self.train.updates.most * self.new_groups * self.rollout.oversampling)

    @property
    def replayed_groups(self) -> int:
        """Groups of a mini-batch that come from earlier iterations, where there are enough."""
        replay = self.loop.replay
        return round(replay.share * self.train.mini_batch_prompts) if replay else 0

    @property
    def new_groups(self) -> int:
        """Groups of a mini-batch that the iteration itself has sampled."""
        return self.train.mini_batch_prompts - self.replayed_groups

    @property
    def guided_groups(self) -> int:
        """Groups of an iteration that start with a part of a good completion, where there is one for each."""
        guide, count = self.rollout.guide, self.prompts_per_iteration
        return min(round(guide.share * count), count - 1) if guide else 0

    @property
    def total_steps(self) -> int:
        """Optimizer steps that the learning-rate schedule spans: all of the run, unless configured."""
        return self.train.schedule_steps or max(1, self.loop.iterations * self.train.updates.most)

    @property
    def max_logprob_gap(self) -> float:
        """Largest tolerated mean |log pi - log mu| per token before the first update, nats."""
        exact = self.model.dtype == self.train.compute_dtype == "float32"
        return self.train.max_logprob_gap or (EXACT_GAP if exact else ROUNDED_GAP)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key, limit in (
            ("rollout.max_tokens", self.rollout.max_tokens),
            ("evaluate.max_tokens", self.evaluate.max_tokens),
        ):
            if limit is not None and limit >= self.model.max_length:
                raise ValueError(
                    f"{key} ({limit}) must leave room for the prompt in model.max_length ({self.model.max_length})"
                )
        if self.loop.replay and not 0 < self.replayed_groups < self.train.mini_batch_prompts:
            raise ValueError(
                f"loop.replay.share ({self.loop.replay.share:g}) of train.mini_batch_prompts "
                f"({self.train.mini_batch_prompts}) must round to at least one group and leave one; change one of them"
            )
        if len(set(self.data.replay)) < len(self.data.replay):
            raise ValueError("data.replay names a run twice; name it once")
        if self.data.replay and not (self.loop.replay or self.rollout.guide):
            raise ValueError("data.replay names runs that loop.replay or rollout.guide draws from; set one of the two")
        if self.run.name in self.data.replay:
            raise ValueError(f"data.replay names this run itself ({self.run.name}); give this one another run.name")
        if self.prompts_per_iteration > _MOST_PROMPTS:
            raise ValueError(
                f"an iteration would sample {self.prompts_per_iteration:.2g} prompts (train.updates.most x groups of a "
                f"mini-batch x rollout.oversampling), and at most {_MOST_PROMPTS:,} are possible; lower one of them"
            )
        if self.rollout.guide and not self.guided_groups:
            raise ValueError(
                f"rollout.guide.share ({self.rollout.guide.share:g}) of the prompts of an iteration "
                f"({self.prompts_per_iteration}) must round to at least one group and leave one; change one of them"
            )
        if self.rollout.shards > self.prompts_per_iteration:
            raise ValueError(
                f"rollout.shards ({self.rollout.shards}) exceeds the prompts of an iteration "
                f"({self.prompts_per_iteration} = train.updates.most x {self.new_groups} groups of a mini-batch x "
                "rollout.oversampling)"
            )
        if self.rollout.oversampling > 1.0 and self.train.zero_signal_groups == "keep":
            raise ValueError(
                "rollout.oversampling replaces dropped zero-signal groups, and train.zero_signal_groups=keep drops "
                "none; set train.zero_signal_groups=drop or rollout.oversampling=1"
            )
        if self.loop.target_reward is not None and self.data.eval_prompts == 0:
            raise ValueError("loop.target_reward needs held-out prompts; raise data.eval_prompts above 0")
        return self
