"""What the train stage measures, as stored in its `metrics.json`."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StepMetrics(BaseModel):
    """One optimiser step on one mini-batch. Ratios compare the current policy pi with the behaviour policy mu."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    step: int = Field(description="optimiser steps since the base policy, from 1")
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
    clip_fraction: float = Field(description="share of sequences (or tokens, for clipped surrogates) at the bound")
    log_ratio_mean: float = Field(description="mean |log rho| of a sequence, nats")
    log_ratio_p95: float
    log_ratio_max: float
    kl: float = Field(
        description="estimate of KL(mu || pi) per token, nats: mean of exp(d) - 1 - d, d = log pi - log mu"
    )
    entropy: float = Field(description="of pi per completion token, nats")


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
    ended_early: str | None = Field(default=None, description="why the pass ended before its last mini-batch")
