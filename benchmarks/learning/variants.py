"""What is compared: algorithms, numbers of updates per batch of rollouts, ablations."""

from dataclasses import dataclass, field
from typing import Any

GROUP_SIZE = 4
MINI_BATCH_PROMPTS = 8
"""32 sequences of 8 prompts a mini-batch, as in the paper."""

STEPS = 192
ABLATION_UPDATES = 64
"""Updates per batch of the ablations: well beyond the paper's 16, where the parts of the method matter."""


@dataclass(frozen=True)
class Variant:
    """Attributes:
    name: how it is called in tables and files.
    objective: section `train.objective`.
    updates: k, optimizer steps per batch of rollouts.
    settings: other keys of the configuration, dotted.
    """

    name: str
    objective: dict[str, Any]
    updates: int = 1
    settings: dict[str, Any] = field(default_factory=dict)


def _plain(name: str, updates: int = 1, **settings: Any) -> Variant:
    return Variant(name if updates == 1 else f"{name} k={updates}", {"name": name}, updates, settings)


DYNAMIC_SAMPLING = {"train.zero_signal_groups": "drop", "rollout.oversampling": 3.0}
"""DAPO draws prompts until its batch is full of groups with both right and wrong answers. Three times as many as needed
are drawn at once here; where even these hold too few, the mini-batch is smaller."""

FIELD: tuple[Variant, ...] = (
    Variant("pg", {"name": "pg"}),
    Variant("grpo", {"name": "grpo"}),
    Variant("dr_grpo", {"name": "dr_grpo"}),
    Variant("dapo", {"name": "dapo"}, settings=DYNAMIC_SAMPLING),
    Variant("rapid k=1", {"name": "rapid"}),
    *(_plain("rapid", k) for k in (4, 8, 16, 32)),
    _plain("rapid_clip", 16),
    *(_plain(name, k) for name in ("grpo", "pg") for k in (16, 32)),
    _plain("sft", 16),
    Variant("rapid, dynamic k=16", {"name": "rapid"}, 16, {**DYNAMIC_SAMPLING, "rollout.oversampling": 2.0}),
)
"""On-policy methods, `rapid` at growing k, and what reuses a batch as often without importance weights: `grpo` clips,
`pg` does nothing about the policy having moved on. The last combines `rapid` with DAPO's dynamic sampling, which needs
fewer prompts to choose from where a batch is large: where they hold too few groups with signal, a pass is shorter."""


def _ablation(name: str, updates: int = ABLATION_UPDATES, **objective: Any) -> Variant:
    return Variant(f"{name} k={updates}", {"name": "rapid", **objective}, updates)


FLOOR_OFF = {"train.min_effective_sample_share": 0.0}

ABLATIONS: tuple[Variant, ...] = (
    _ablation("rapid"),
    _plain("pg", ABLATION_UPDATES),
    _ablation("rapid, plain baseline", baseline="mean"),
    _ablation("rapid, C=1", truncation=1.0),
    _ablation("rapid, C=5", truncation=5.0),
    _ablation("rapid, no bound", truncation="off"),
    _ablation("rapid, leave one out", baseline="leave_one_out"),
    _ablation("rapid, self-normalised", baseline="self_normalised"),
    Variant(f"rapid, no floor k={ABLATION_UPDATES}", {"name": "rapid"}, ABLATION_UPDATES, FLOOR_OFF),
    _plain("grpo", ABLATION_UPDATES),
)
"""One part of `rapid` (C = 2, weighted baseline, floor of 0.1 on the effective sample share) changed at a time; `pg` is
`rapid` without its weights, `grpo` the same reuse with clipping in their place."""

BREAKING: tuple[Variant, ...] = tuple(
    Variant(f"{name} k={updates}", {"name": name}, updates, FLOOR_OFF)
    for updates in (96, 192)
    for name in ("rapid", "grpo", "pg")
)
"""Where it breaks: one or two batches of rollouts for all updates, and no floor that ends a pass early."""

THROUGH_PIPELINE = {"grpo": 3, "rapid k=16": 2}
"""How many iterations run through the whole pipeline, to measure what it costs beyond computing."""
