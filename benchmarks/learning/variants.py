"""The variants to compare: algorithms, numbers of updates per batch of rollouts, ablations."""

from dataclasses import dataclass, field
from typing import Any

GROUP_SIZE = 4
MINI_BATCH_PROMPTS = 8
"""8 prompts a mini-batch, as in the paper; 32 sequences."""

STEPS = 192
ABLATION_UPDATES = 64
"""Updates per batch in the ablations: well beyond the paper's 16, where the parts of the method matter."""


@dataclass(frozen=True)
class Variant:
    """An algorithm with its settings.

    Attributes:
        name: name in tables and files.
        objective: section `train.objective`.
        updates: k, optimizer steps per batch of rollouts.
        settings: other options of the configuration, by dotted key.
        longer: how many times as many iterations as the others it runs: where it samples less in each.
    """

    name: str
    objective: dict[str, Any]
    updates: int = 1
    settings: dict[str, Any] = field(default_factory=dict)
    longer: float = 1.0


def _plain(name: str, updates: int = 1, **settings: Any) -> Variant:
    return Variant(name if updates == 1 else f"{name} k={updates}", {"name": name}, updates, settings)


DYNAMIC_SAMPLING = {"train.zero_signal_groups": "drop", "rollout.oversampling": 3.0}
"""DAPO samples prompts until its batch is full of groups with both right and wrong completions. Here three times as
many prompts as needed are sampled at once; if even these have too few such groups, the mini-batch is smaller."""

_RAPID = {"name": "rapid"}
_DYNAMIC = {**DYNAMIC_SAMPLING, "rollout.oversampling": 2.0}
"""A large batch needs fewer spare prompts; with too few groups that have a signal, its iteration has fewer updates."""

_CLONING = {"train.cloning": {"coefficient": 2.0}}
"""Coefficients of 1 and 4 end about as high (LOG.md)."""

_MOSTLY_REPLAY = {**_DYNAMIC, "rollout.oversampling": 1.5, "loop.replay": {"share": 0.75, "iterations": 8}}
"""Samples three eighths of what the others sample for an update."""

FIELD: tuple[Variant, ...] = (
    Variant("pg", {"name": "pg"}),
    Variant("grpo", {"name": "grpo"}),
    Variant("dr_grpo", {"name": "dr_grpo"}),
    Variant("dapo", {"name": "dapo"}, settings=DYNAMIC_SAMPLING),
    *(_plain("rapid", k) for k in (8, 16, 32)),
    _plain("rapid_clip", 16),
    *(_plain(name, k) for name in ("grpo", "pg") for k in (16, 32)),
    _plain("sft", 16),
    Variant("rapid, dynamic k=16", _RAPID, 16, _DYNAMIC),
    Variant("rapid, replay k=16", _RAPID, 16, {"loop.replay": {"share": 0.5, "iterations": 2}}),
    Variant("rapid, dynamic, replay k=16", _RAPID, 16, {**_DYNAMIC, "loop.replay": {"share": 0.5, "iterations": 4}}),
    Variant("rapid, dynamic, replay 3/4 k=16", _RAPID, 16, _MOSTLY_REPLAY),
    Variant("rapid, dynamic, replay 3/4, longer k=16", _RAPID, 16, _MOSTLY_REPLAY, longer=8 / 3),
    Variant("rapid, k to 0.75", _RAPID, 64, {"train.updates": {"most": 64, "until_share": 0.75}}),
    Variant("rapid, cloning k=16", _RAPID, 16, _CLONING),
    Variant("grpo, cloning", {"name": "grpo"}, 1, _CLONING),
    Variant("rapid, guide k=16", _RAPID, 16, {"train.guide": {"coefficient": 0.02}}),
    Variant(
        "rapid, guided starts k=16",
        _RAPID,
        16,
        {"rollout.guide": {"share": 0.5, "part": 0.75, "iterations": 8, "column": "answer"}},
    ),
)
"""On-policy methods, `rapid` at growing k, methods that reuse a batch as often without importance weights (`grpo`
clips, `pg` makes no correction), and `rapid` with one of the options that are off by default, or two."""


def _ablation(name: str, updates: int = ABLATION_UPDATES, **objective: Any) -> Variant:
    return Variant(f"{name} k={updates}", {"name": "rapid", **objective}, updates)


def _floor_off(updates: int) -> dict[str, Any]:
    return {"train.updates": {"most": updates, "until_share": 0.0}}


ABLATIONS: tuple[Variant, ...] = (
    _ablation("rapid"),
    _plain("pg", ABLATION_UPDATES),
    _ablation("rapid, plain baseline", baseline="mean"),
    _ablation("rapid, C=1", truncation=1.0),
    _ablation("rapid, C=5", truncation=5.0),
    _ablation("rapid, no bound", truncation="off"),
    _ablation("rapid, leave one out", baseline="leave_one_out"),
    _ablation("rapid, self-normalised", baseline="self_normalised"),
    Variant(f"rapid, no floor k={ABLATION_UPDATES}", {"name": "rapid"}, ABLATION_UPDATES, _floor_off(ABLATION_UPDATES)),
    _plain("grpo", ABLATION_UPDATES),
)
"""`rapid` (C = 2, weighted baseline, floor of 0.1 on the effective sample share) with one part changed at a time; `pg`
is `rapid` without weights, `grpo` has clipping in their place."""

BREAKING: tuple[Variant, ...] = tuple(
    Variant(f"{name} k={updates}", {"name": name}, updates, _floor_off(updates))
    for updates in (STEPS // 2, STEPS)
    for name in ("rapid", "grpo", "pg")
)
"""The limits of the method: one or two batches of rollouts for all updates, and no floor that ends iterations early."""

REFERENCE = "grpo"
"""The algorithm that times are compared with: on-policy GRPO at its best learning rate."""

REUSING = "rapid k=16"
"""Its learning rate is that of variants that reuse batches, on tasks where none was searched for them; that of the
reference is used for on-policy ones."""

MAIN: tuple[Variant, ...] = tuple(variant for variant in FIELD if variant.name in ("grpo", "rapid k=32"))
"""The main comparison."""
