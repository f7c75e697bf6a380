"""Plots of a summary: accuracy over time, effective sample share over an iteration, ablations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SHOWN = (
    "grpo",
    "dapo",
    "grpo, cloning",
    "rapid k=16",
    "rapid, dynamic, replay k=16",
    "rapid, cloning k=16",
    "sft k=16",
)
"""The algorithms to plot; the tables have all."""

_COLOURS = dict(zip(SHOWN, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False))
_CLOCKS = {"wall": "seconds since the start of the run", "compute": "seconds of sampling and updating"}


def draw(summary: Mapping[str, Any], into: Path) -> list[Path]:
    """Write one plot per question, with a panel per task, and return their paths."""
    into.mkdir(parents=True, exist_ok=True)
    tasks = summary["tasks"]
    made = [_accuracy(tasks, clock, into / f"accuracy-{clock}.png") for clock in _CLOCKS]
    return [*made, _effective_sample(tasks, into / "effective-sample.png")]


def draw_ablations(tasks: Mapping[str, Any], path: Path) -> Path:
    """Write the plot of ablations, with a panel per task."""
    figure, axes = _panels(tasks, 5.0)
    for axis, studies in zip(axes, tasks.values(), strict=True):
        means, deviations = zip(*(figures["pass_at_1"] for figures in studies.values()), strict=True)
        axis.barh(list(studies), means, xerr=deviations, color="#7a9cc6", error_kw={"linewidth": 1})
        axis.axvline(
            next(iter(studies.values()))["curves"][0][0]["pass_at_1"], color="black", linewidth=0.8, linestyle=":"
        )
        axis.invert_yaxis()
        axis.set_xlim(0, 1)
        axis.set_xlabel("pass@1 at the end, mean and deviation over seeds\n(dotted: base policy)")
    return _save(figure, path)


def _panels(tasks: Mapping[str, Any], height: float) -> tuple[Any, Sequence[Any]]:
    figure, axes = plt.subplots(1, len(tasks), figsize=(6.2 * len(tasks), height), squeeze=False)
    for axis, name in zip(axes[0], tasks, strict=True):
        axis.set_title(name)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def _accuracy(tasks: Mapping[str, Any], clock: str, path: Path) -> Path:
    figure, axes = _panels(tasks, 4.4)
    for axis, task in zip(axes, tasks.values(), strict=True):
        for name in (name for name in SHOWN if name in task["field"]):
            on_policy = task["field"][name]["updates"] == 1
            # Of each evaluated policy the mean over seeds, and from the lowest to the highest.
            policies = list(zip(*task["field"][name]["curves"], strict=False))
            at = [fmean(point[clock] for point in seeds) for seeds in policies]
            scores = [[point["pass_at_1"] for point in seeds] for seeds in policies]
            axis.plot(
                at,
                [fmean(seeds) for seeds in scores],
                color=_COLOURS[name],
                linestyle="--" if on_policy else "-",
                linewidth=1.6,
                label=name,
            )
            lowest, highest = [min(seeds) for seeds in scores], [max(seeds) for seeds in scores]
            axis.fill_between(at, lowest, highest, color=_COLOURS[name], alpha=0.12, linewidth=0)
        if clock == "wall":
            axis.set_xscale("log")
        axis.set_xlabel(_CLOCKS[clock])
        axis.set_ylabel("pass@1, held-out prompts")
        axis.grid(alpha=0.25)
    lines = {line.get_label(): line for axis in axes for line in axis.get_legend_handles_labels()[0]}
    shown = {name: lines[name] for name in SHOWN if name in lines}
    axes[-1].legend(
        shown.values(),
        shown,
        title="mean and range of seeds, dashed: on-policy",
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        loc="lower right",
    )
    return _save(figure, path)


def _effective_sample(tasks: Mapping[str, Any], path: Path) -> Path:
    """Plot the effective sample share over an iteration, for every k of `rapid`."""
    figure, axes = _panels(tasks, 3.6)
    for axis, task in zip(axes, tasks.values(), strict=True):
        found = task["field"]
        for name in (n for n in found if n.startswith("rapid k=") and found[n]["updates"] > 1):
            shares = found[name]["over_an_iteration"]["effective_sample_share"]
            axis.plot(range(1, len(shares) + 1), shares, marker=".", markersize=3, label=name)
        axis.set_xscale("log", base=2)
        axis.set_ylim(0, 1.05)
        axis.set_xlabel("mini-batch of the iteration")
        axis.set_ylabel("effective sample share")
        axis.grid(alpha=0.25)
    axes[0].legend(frameon=False, fontsize=8)
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
