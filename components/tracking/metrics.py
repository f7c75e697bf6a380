"""Results of a run as points on MLflow's axes.

Three prefixes, each with its own meaning of `step`:

- `iteration/`: the iteration; for held-out prompts the policy version, which is the number of iterations that
  made the policy, so the base policy stands at 0;
- `step/`: the optimiser step since the base policy;
- `clock/`: whole wall-clock seconds since prepare began.

Time stamps are those of the run, not of sending, so that a point that is sent twice is the same point.
"""

from datetime import datetime
from typing import NamedTuple

from components.contract.metrics import StepMetrics
from components.results import IterationResult, RoundResult


class Point(NamedTuple):
    key: str
    value: float
    timestamp: int
    """Milliseconds since 1970."""
    step: int


_STEP_KEYS = [name for name in StepMetrics.model_fields if name not in ("step", "finished")]


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def iteration_points(iteration: IterationResult, started: datetime) -> list[Point]:
    """Points of an iteration that is committed, its optimiser steps included."""
    assert iteration.train is not None
    assert iteration.time is not None
    assert iteration.finished is not None
    assert iteration.round.train is not None
    split, train, time = iteration.round.train, iteration.train, iteration.time
    values: dict[str, float | None] = {
        "train_reward": split.reward,
        "completion_tokens_mean": split.length,
        "truncated_share": split.truncated_share,
        "grading_failed_share": split.failed_share,
        "completions": iteration.round.completions,
        "dropped_groups": train.dropped_groups,
        "bad_groups": train.bad_groups,
        "skipped_steps": train.skipped,
        "ended_at": train.ended_at,
        "logprob_gap_mean": train.logprob_gap_mean,
        "logprob_gap_max": train.logprob_gap_max,
        "zero_signal_share": train.zero_signal_groups / train.groups if train.groups else None,
        "seconds": time.seconds,
        "compute_share": time.compute_share,
        **{f"seconds_{name}": stage.seconds for name, stage in time.stages.items()},
    }
    if train.steps:
        shares = [step.effective_sample_share for step in train.steps]
        values["effective_sample_share"] = sum(shares) / len(shares)
        values["effective_sample_share_min"] = min(shares)
    number, stamp = iteration.number, milliseconds(iteration.finished)
    points = [Point(f"iteration/{k}", v, stamp, number) for k, v in values.items() if v is not None]
    points.append(_clock("train_reward", split.reward, iteration.round.finished, started))
    points += [
        Point(f"step/{key}", float(getattr(step, key)), milliseconds(step.finished), step.step)
        for step in train.steps
        for key in _STEP_KEYS
    ]
    return points


def evaluation_points(result: RoundResult, started: datetime) -> list[Point]:
    """Points of the held-out prompts of a round."""
    assert result.eval is not None
    values = {
        "eval_reward": result.eval.reward,
        "eval_truncated_share": result.eval.truncated_share,
        "eval_completion_tokens_mean": result.eval.length,
        **{f"pass_at_{k}": value for k, value in result.pass_at_k.items()},
    }
    stamp = milliseconds(result.finished)
    points = [Point(f"iteration/{k}", v, stamp, result.policy_version) for k, v in values.items()]
    scores = [k for k in values if k == "eval_reward" or k.startswith("pass_at_")]
    return points + [_clock(k, values[k], result.finished, started) for k in scores]


def _clock(key: str, value: float, moment: datetime, started: datetime) -> Point:
    return Point(f"clock/{key}", value, milliseconds(moment), int((moment - started).total_seconds()))
