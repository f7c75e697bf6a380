"""The page of a full comparison, for readers who know GRPO and not RAPID."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.learning import tables
from benchmarks.learning.jobs import EVALUATE_EVERY
from benchmarks.learning.tables import markdown
from benchmarks.learning.tasks import HELD_OUT
from benchmarks.learning.variants import ABLATION_UPDATES, GROUP_SIZE, MINI_BATCH_PROMPTS

_INTRODUCTION = """\
# How long RAPID takes to the same accuracy

GRPO samples a batch of completions, takes one optimizer step on it, and samples again with the new policy. RAPID
([arXiv 2510.03515](https://arxiv.org/abs/2510.03515)) samples a batch that is k times as large and takes k steps on
it, a mini-batch each. Every completion is used once, as in GRPO (without replay), but most of them by a policy that has
moved on since; each is therefore weighted by how much likelier it is now, w = min(pi / mu, 2), in its own gradient and
in the baseline of its group. What that saves: one start of engine and trainer for k steps, and sampling in batches
large enough to keep the engine busy.

Every algorithm ran through `rapid run` for {steps} updates on mini-batches of {sequences} sequences ({prompts} prompts
x {group} completions), fewer where groups are dropped or an iteration ends early, with the same prompts in the same
order for equal seeds, each at its best learning rate in a search on one seed (last table of each task; an algorithm
that is not in it has the rate of `grpo`, or of `rapid k=16` if it reuses batches). Policies have 1.2 million parameters
and were taught their task from answers many of which are wrong. They are compared on {held_out} held-out prompts, 8
completions each, every {every} optimizer steps or at the end of a batch.
"To 0.8" is the time of the first evaluated policy with pass@1 of at least 0.8: median over {seeds} seeds, and from-to.

Two clocks, both read from the manifests of the runs:

- **wall**: all seconds since `rapid run` was started, loading and evaluations included.
- **compute**: seconds of sampling training completions and of updating. It is the best that any way of running an
  algorithm could do.

Reproduce with `{command}` ({machine}).
"""


def write(
    summary: Mapping[str, Any],
    rates: Mapping[str, Mapping[str, Mapping[str, float]]],
    command: str,
    pictures: list[Path],
    path: Path,
) -> None:
    """Write the page of a full comparison beside its pictures."""
    settings, machine = summary["settings"], summary["machine"]
    lines = [
        _INTRODUCTION.format(
            sequences=GROUP_SIZE * MINI_BATCH_PROMPTS,
            prompts=MINI_BATCH_PROMPTS,
            group=GROUP_SIZE,
            held_out=HELD_OUT,
            seeds=settings["seeds"],
            steps=settings["steps"],
            every=EVALUATE_EVERY,
            command=command,
            machine=f"{machine['processor']}, one core; Python {machine['python']}, PyTorch {machine['torch']}, "
            f"vLLM {machine['vllm']}",
        ),
        *(f"![{picture.stem}]({picture.name})" for picture in pictures),
    ]
    for name, task in summary["tasks"].items():
        lines += _task(name, task, rates[name])
    path.write_text("\n\n".join(line.strip() for line in lines) + "\n", encoding="utf-8")


def write_ablations(made: Mapping[str, Any], command: str, picture: Path, path: Path) -> None:
    """Write the page of the ablations beside its picture."""
    lines = [
        "# Parts of RAPID, changed one at a time",
        f"{ABLATION_UPDATES} updates per batch, {made['steps']} updates in all, {made['seeds']} seeds; and the limits: "
        "one or two batches for all updates, with no floor on the effective sample share. Made by "
        f"`{command}`.",
        f"![{picture.stem}]({picture.name})",
    ]
    for name, studies in made["tasks"].items():
        lines += [f"## {name.capitalize()}", markdown(*tables.study_rows(studies))]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def _task(name: str, task: Mapping[str, Any], swept: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = [f"## {name.capitalize()}", task["description"] + "."]
    for target in tables.targets(task, 3):
        lines += [f"Time to pass@1 {target}, the fastest first:", markdown(*tables.main_rows(task, target))]
    lines += [
        "pass@1 at equal optimizer steps, completions and computing seconds (mean ± deviation over seeds):",
        markdown(*tables.equal_rows(task)),
        "Milliseconds of an optimizer step:",
        markdown(*tables.cost_rows(task)),
        "Distance of `rapid` from the behaviour policy in the last mini-batch of an iteration:",
        markdown(*tables.off_policy_rows(task)),
    ]
    lines += ["Mean pass@1 over the first seed's run by learning rate:", markdown(*tables.sweep_rows(swept))]
    return lines
