"""Configuration of the training stage."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.contract.errors import InputError
from components.contract.objective_config import ObjectiveSection, RapidOptions
from components.contract.section import Count, Decay, Fraction, Location, Positive, Section, affects

CPU_LOGITS = 1 << 24
"""float32 logits of a chunk where `logprob_chunk` is null: 64 MiB."""

GPU_LOGITS = 1 << 28
"""1 GiB: GPUs need larger matrix products."""

EXACT_GAP, ROUNDED_GAP = 1e-3, 0.1
"""Limits of the gap between engine and trainer, nats per token: in float32 and in dtypes that round."""

SHARES_IN_MEAN = 8
"""Mini-batches whose mean effective sample share decides whether updates go on: that of a single one is noisy."""


class OverlongSection(Section):
    """Completions cut off at rollout.max_tokens (finish_reason `length`)."""

    shorthand = "handling"
    handling: Literal["keep", "mask", "penalise"] = Field(
        default="keep",
        description="mask: no loss on their tokens, their rewards still count for the baseline; "
        "penalise: subtract penalty from their reward",
    )
    penalty: Positive = Field(default=1.0, description="what penalise subtracts")


class UpdatesSection(Section):
    """Optimizer steps of an iteration, one mini-batch each."""

    shorthand = "most"
    most: Annotated[Count, affects("rollout", "train")] = Field(
        default=16, le=1_000_000, description="at most so many; an iteration samples as many mini-batches"
    )
    until_share: Annotated[Fraction, affects("train")] = Field(
        default=0.1,
        description="end the iteration's updates when the effective sample share, (sum w)^2 / (N sum w^2) of a "
        f"mini-batch, falls below this in the mean of the last {SHARES_IN_MEAN} mini-batches",
    )


class CloningSection(Section):
    """Behaviour cloning on verified completions: the sft objective, or a term added to another one."""

    shorthand = "coefficient"
    coefficient: float = Field(
        default=0.0, ge=0.0, description="of the added term, normalised as the objective is; 0: none"
    )
    threshold: float = Field(default=0.5, description="a completion is verified when its reward exceeds this")


class GuideSection(Section):
    """A model that the policy is kept close to, by a KL term: the base policy as in GRPO, or a teacher."""

    shorthand = "coefficient"
    coefficient: Positive = Field(description="of KL(policy || guide)")
    model: Location | None = Field(
        default=None,
        description="a causal model with the policy's vocabulary, which may be larger: as model.path; null: the base "
        "policy",
    )
    revision: str | None = Field(default=None, description="branch, tag or commit of a hub name")


class LoraSection(Section):
    """Low-rank adapters (arXiv 2106.09685) through peft; without this section all weights are trained."""

    shorthand = "rank"
    rank: Count
    alpha: Positive | None = Field(default=None, description="scale of the adapter times rank; null: twice the rank")
    targets: tuple[str, ...] | Literal["all-linear"] = Field(
        default="all-linear", description="modules that get adapters, by the end of their name"
    )


class TrainSection(Section):
    """Policy updates on one batch of trajectories."""

    objective: Annotated[ObjectiveSection, affects("train")] = RapidOptions()
    cloning: Annotated[CloningSection, affects("train")] = CloningSection()
    guide: Annotated[GuideSection | None, affects("train")] = None
    entropy_coefficient: Annotated[float, affects("train")] = Field(
        default=0.0, ge=0.0, description="entropy bonus per token; 0: none"
    )
    overlong: Annotated[OverlongSection, affects("train")] = OverlongSection()
    zero_signal_groups: Annotated[Literal["keep", "drop"], affects("train")] = Field(
        default="keep", description="groups whose rewards are all equal; drop is DAPO's dynamic sampling"
    )
    updates: UpdatesSection = UpdatesSection()
    mini_batch_prompts: Annotated[Count, affects("rollout", "train")] = Field(
        default=8, description="groups per mini-batch"
    )
    learning_rate: Annotated[Positive, affects("train")] = 1e-6
    schedule: Annotated[Literal["constant", "linear", "cosine"], affects("train")] = "constant"
    schedule_steps: Annotated[Count | None, affects("train")] = Field(
        default=None, description="optimizer steps the schedule spans; null: iterations x updates.most"
    )
    warmup_steps: Annotated[int, affects("train")] = Field(default=0, ge=0)
    min_learning_rate: Annotated[float, affects("train")] = Field(
        default=0.0, ge=0.0, description="final rate of the linear and cosine schedules"
    )
    betas: Annotated[tuple[Decay, Decay], affects("train")] = (0.9, 0.999)
    weight_decay: Annotated[float, affects("train")] = Field(default=0.0, ge=0.0)
    max_grad_norm: Annotated[Positive, affects("train")] = 1.0
    max_kl: Annotated[Positive | None, affects("train")] = Field(
        default=None,
        description="end the iteration's updates when KL(mu || pi) of a mini-batch, nats per token, exceeds this",
    )
    max_bad_steps: Annotated[Count, affects()] = Field(
        default=3,
        description="stop after this many mini-batches in a row (or all of an iteration) without finite loss and "
        "gradient",
    )
    max_bad_group_share: Annotated[Fraction, affects("train")] = Field(
        default=0.0, description="share of groups with bad rows that is dropped instead of refused"
    )
    max_logprob_gap: Annotated[Positive | None, affects()] = Field(
        default=None,
        description="largest tolerated mean |log pi - log mu| per token before the first update, nats; null: "
        f"{EXACT_GAP:g} where weights and compute are float32, else {ROUNDED_GAP:g}",
    )
    micro_batch_tokens: Annotated[Count, affects()] = Field(
        default=4096, description="tokens per forward pass: prompts once a group, and completions"
    )
    logprobs: Annotated[Literal["auto", "fused", "chunked"], affects()] = Field(
        default="auto", description="how the output head is computed; auto: fused where the head is one projection"
    )
    logprob_chunk: Annotated[Count | None, affects()] = Field(
        default=None,
        description="completion tokens whose logits exist at a time; null: as many as fit 64 MiB, 1 GiB on a GPU",
    )
    compute_dtype: Annotated[Literal["float32", "bfloat16"], affects("train")] = Field(
        default="float32", description="of matrix products"
    )
    gradient_checkpointing: Annotated[bool, affects()] = False
    compile: Annotated[bool, affects()] = Field(default=False, description="torch.compile the decoder")
    lora: Annotated[LoraSection | None, affects("train")] = None
    checkpoint_every: Annotated[int, affects()] = Field(
        default=0, ge=0, description="mini-batches between checkpoints within an iteration; 0: none"
    )
    keep_policies: Annotated[int | None, affects()] = Field(
        default=None,
        ge=2,
        description="newest policies that are kept, beside the base policy, the best and published ones; null: all",
    )
    processes: Annotated[Count, affects()] = Field(
        default=1, description="training processes on a machine, one per GPU"
    )
    nodes: Annotated[Count, affects()] = Field(
        default=1, description="machines that train together, each with `processes`; on a cluster"
    )

    @model_validator(mode="after")
    def _sft_is_the_only_cloning(self) -> Self:
        self.check_cloning(self.objective.name == "sft")
        return self

    def check_cloning(self, objective_clones: bool) -> None:
        """Raise InputError where cloning is added to an objective that clones, or cloned groups would be dropped."""
        if objective_clones and self.cloning.coefficient:
            raise InputError(
                f"cloning.coefficient adds cloning to an objective; {self.objective.name} is cloning alone"
            )
        if self.zero_signal_groups == "drop" and (objective_clones or self.cloning.coefficient):
            raise InputError(
                "zero_signal_groups=drop would drop groups in which every completion is verified, and sft and cloning "
                "train on those; use keep"
            )
