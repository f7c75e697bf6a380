"""Results of a run as points on MLflow's axes.

Four prefixes, which decide what `step` means:

- `iteration/`: the iteration; for held-out prompts the policy version, which is the number of iterations that
  made the policy, so the base policy stands at 0;
- `step/`: the optimizer step since the base policy;
- `clock/`: whole wall-clock seconds since prepare began;
- `system/`: the iteration; what each stage used of its machine. MLflow shows these on a page of their own.

Time stamps are those of the run and not of sending, so that a point that is sent twice stays one point.
"""

from datetime import datetime
from typing import NamedTuple

from components.contract.manifest import Timings
from components.contract.metrics import StepMetrics
from components.results import IterationResult, RoundResult, evaluation_values, iteration_values


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
    """Points of an iteration that is committed, its optimizer steps included."""
    assert iteration.train is not None
    assert iteration.trained is not None
    number, stamp = iteration.number, milliseconds(iteration.trained.finished)
    values = iteration_values(iteration)
    points = [Point(f"iteration/{k}", v, stamp, number) for k, v in values.items()]
    points.append(_clock("train_reward", values["train_reward"], iteration.sampled.finished, started))
    points += [
        Point(f"step/{key}", float(value), milliseconds(step.finished), step.step)
        for step in iteration.train.steps
        for key in _STEP_KEYS
        if (value := getattr(step, key)) is not None
    ]
    return points + _system_points(number, iteration.sampled, iteration.trained)


def _system_points(number: int, sampled: RoundResult, trained: Timings) -> list[Point]:
    """Points of what the stages used while they computed, each shard apart."""
    stages = {"rollout": sampled.rollout, "reward": sampled.reward}
    used = {f"{stage}-{shard:03d}": part for stage, shards in stages.items() for shard, part in enumerate(shards)}
    used["train"] = trained
    return [
        Point(f"system/{machine}/{name}", value, milliseconds(timings.finished), number)
        for machine, timings in used.items()
        for name, value in timings.usage.items()
    ]


def evaluation_points(result: RoundResult, started: datetime) -> list[Point]:
    """Points of the held-out prompts of a round."""
    values = evaluation_values(result)
    stamp = milliseconds(result.finished)
    points = [Point(f"iteration/{k}", v, stamp, result.policy_version) for k, v in values.items()]
    scores = [k for k in values if k == "eval_reward" or k.startswith("pass_at_")]
    return points + [_clock(k, values[k], result.finished, started) for k in scores]


def _clock(key: str, value: float, moment: datetime, started: datetime) -> Point:
    return Point(f"clock/{key}", value, milliseconds(moment), int((moment - started).total_seconds()))
