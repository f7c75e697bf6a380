"""Measurements of the train stage, as stored in its `metrics.json`."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StepMetrics(BaseModel):
    """One optimizer step on one mini-batch. Ratios compare the policy pi with the behaviour policy mu."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    step: int = Field(description="optimizer steps since the base policy, from 1")
    finished: datetime
    seconds: float
    tokens: int = Field(description="completion tokens of the mini-batch")
    tokens_per_second: float = Field(description="prompt and completion tokens through forward and backward")
    learning_rate: float
    loss: float
    gradient_norm: float = Field(description="before clipping")
    reward: float = Field(description="mean of the mini-batch")
    effective_sample_share: float = Field(description="(sum w)^2 / (N sum w^2) of the truncated sequence weights w")
    weight_mean: float = Field(description="mean importance weight after truncation")
    chi_squared: float = Field(description="mean of rho^2, less 1: chi-squared divergence of pi from mu")
    clip_fraction: float = Field(description="share of sequences (or tokens, for bounded surrogates) at the bound")
    mask_fraction: float = Field(description="share of tokens masked because their completion hit rollout.max_tokens")
    log_ratio_mean: float = Field(description="mean |log rho| of a sequence, nats")
    log_ratio_p50: float
    log_ratio_p95: float
    log_ratio_p99: float
    log_ratio_max: float
    kl: float = Field(
        description="estimate of KL(mu || pi) per token, nats: mean of exp(d) - 1 - d, d = log pi - log mu"
    )
    kl_k1: float = Field(description="the same as the mean of log mu - log pi: no bias, more noise")
    entropy: float = Field(description="of pi per completion token, nats")
    guide_kl: float | None = Field(
        default=None, description="estimate of KL(pi || guide) per token, nats: mean of log pi - log guide"
    )


class ReplayMetrics(BaseModel):
    """Groups of one earlier iteration, or of an earlier run, that were chosen for an iteration's mini-batches.

    Measured before the first update, against the policy that drew them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    age: int | None = Field(description="iterations since they were sampled, from 1; of this run")
    run: str | None = Field(default=None, description="name of the earlier run (data.replay)")
    groups: int
    left_out: int = Field(description="of those, whose mean of min(w, 1) was below loop.replay.min_weight")
    effective_sample_share: float = Field(description="as of a mini-batch, over all of these groups")
    log_ratio_mean: float = Field(description="mean |log rho| of a sequence, nats")


class TrainMetrics(BaseModel):
    """One train stage."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    iteration: int
    outcome: Literal["trained", "target_reached"]
    policy_version: int = Field(description="newest policy after this stage")
    steps: tuple[StepMetrics, ...] = ()
    logprob_gap_mean: float | None = Field(
        default=None, description="|engine - trainer| per token before the first step"
    )
    logprob_gap_max: float | None = None
    groups: int = 0
    zero_signal_groups: int = Field(default=0, description="groups whose rewards are all equal")
    dropped_groups: int = Field(default=0, description="of those, left out by train.zero_signal_groups=drop")
    bad_groups: int = Field(default=0, description="left out because of bad rows, within train.max_bad_group_share")
    ungraded_groups: int = Field(default=0, description="left out because a completion could not be graded")
    unused_groups: int = Field(default=0, description="in no mini-batch: the updates ended early, or a surplus")
    replayed_groups: int = Field(default=0, description="of those in `replay`, in mini-batches before an early end")
    replay: tuple[ReplayMetrics, ...] = Field(default=(), description="by age, then by run")
    skipped: int = Field(default=0, description="mini-batches whose loss or gradient was not finite")
    ended_at: int | None = Field(default=None, description="mini-batch at which the updates ended early, from 1")
    ended_early: str | None = Field(default=None, description="why the updates ended before the last mini-batch")
