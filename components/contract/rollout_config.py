"""Configuration of sampling: training completions and held-out prompts."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from components.contract.section import Count, Positive, Section, affects

MOST_SAMPLES = 16384
"""Completions of one prompt that vLLM draws at most (its VLLM_MAX_N_SEQUENCES)."""


class EngineSection(Section):
    """Engine settings for speed and memory; none changes the sampling distribution."""

    max_num_seqs: Count = Field(default=256, description="sequences decoded at the same time")
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    cpu_kv_cache_gib: Count = Field(default=1, description="size of the KV cache on a machine without GPU")
    enforce_eager: bool | None = Field(
        default=None, description="run without CUDA graphs and compilation; null: only without GPU"
    )
    tensor_parallel_size: Count = 1


class GuidedStartsSection(Section):
    """Groups whose prompts end with the first part of a good completion (Jump-Start RL, arXiv 2204.02372)."""

    shorthand = "share"
    share: float = Field(gt=0.0, lt=1.0, description="share of an iteration's groups")
    part: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.75, description="how much of the completion the first iteration is given; it falls linearly"
    )
    iterations: Count = Field(default=5, description="iterations after which nothing is given any more")
    column: str | None = Field(
        default=None, description="column of the prompts with a solution, for prompts that no completion has passed yet"
    )


class RolloutSection(Section):
    """Sampling of training completions."""

    group_size: Annotated[int, affects("rollout")] = Field(
        default=8, ge=2, le=MOST_SAMPLES, description="completions per prompt, which share a baseline"
    )
    max_tokens: Annotated[Count, affects("prepare", "rollout")] = Field(
        default=512, description="length limit of a completion"
    )
    temperature: Annotated[Positive, affects("rollout", "train")] = 1.0
    stop: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], affects("rollout")] = Field(
        default=(), description="strings that end a completion"
    )
    include_stop: Annotated[bool, affects("rollout")] = Field(
        default=False, description="whether graders see the stop string or end token that ended a completion"
    )
    skip_special_tokens: Annotated[bool, affects("rollout")] = Field(
        default=True, description="whether special tokens are left out of the text that graders see"
    )
    oversampling: Annotated[float, affects("rollout")] = Field(
        default=1.0,
        ge=1.0,
        le=1000.0,
        description="prompts sampled per prompt trained on, to replace dropped zero-signal groups",
    )
    guide: Annotated[GuidedStartsSection | None, affects("rollout")] = None
    shards: Annotated[int, Field(ge=1, le=256), affects("rollout")] = Field(
        default=1, description="parallel rollout tasks"
    )
    part_groups: Annotated[Count, affects()] = Field(
        default=256, description="groups per Parquet part, which is the unit of resuming"
    )
    engine: Annotated[EngineSection, affects()] = EngineSection()

    @model_validator(mode="before")
    @classmethod
    def _refuse_truncated_sampling(cls, value: Any) -> Any:
        for name in ("top_p", "top_k"):
            if isinstance(value, dict) and name in value:
                raise ValueError(
                    f"{name} is not an option: truncated sampling renormalises the behaviour distribution, which makes "
                    "importance weights wrong; lower rollout.temperature instead"
                )
        return value


class EvaluateSection(Section):
    """Sampling of held-out prompts, by the engine that samples training completions."""

    every: Annotated[Count, affects("rollout")] = Field(
        default=1,
        description="sample held-out prompts in every n-th iteration, from the first on, and at the end",
    )
    samples: Annotated[Count, affects("rollout")] = Field(
        default=8, le=MOST_SAMPLES, description="completions per held-out prompt"
    )
    temperature: Annotated[Positive, affects("rollout")] = 1.0
    top_p: Annotated[float, affects("rollout")] = Field(default=1.0, gt=0.0, le=1.0)
    max_tokens: Annotated[Count | None, affects("prepare", "rollout")] = Field(
        default=None, description="length limit; null: rollout.max_tokens"
    )
    pass_k: Annotated[tuple[Count, ...], affects("publish")] = Field(
        default=(1, 8), min_length=1, description="values of k of the reported pass@k"
    )
    pass_threshold: Annotated[float, affects("publish")] = Field(
        default=1.0, description="smallest reward of a completion that passes"
    )

    def in_iteration(self, number: int) -> bool:
        """Return whether an iteration samples held-out prompts."""
        return (number - 1) % self.every == 0

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if max(self.pass_k) > self.samples:
            raise ValueError(
                f"pass_k={max(self.pass_k)} needs at least as many samples (got samples={self.samples}); "
                "raise evaluate.samples or lower evaluate.pass_k"
            )
        return self
