"""Tables of a summary, as text or Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.learning.analysis import CLOCKS, TARGETS
from benchmarks.learning.variants import REFERENCE

Rows = list[list[str]]
Table = Callable[[list[str], Rows], str]


def markdown(head: list[str], rows: Rows) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main_rows(task: Mapping[str, Any], target: str) -> tuple[list[str], Rows]:
    """Return accuracy at the end and time to one target on each clock, sorted by the first clock."""
    head = ["algorithm", "rate", "seeds", "pass@1 at the end", "pass@8"]
    for clock in CLOCKS:
        head += [f"{clock} s to {target}", "x grpo"]
    rows = []
    for name, figures in sorted(task["field"].items(), key=lambda item: _order(item[1], target)):
        row = [name, f"{figures['learning_rate']:g}", str(figures["seeds"])]
        row += [_mean(figures["pass_at_1"]), _mean(figures["pass_at_8"])]
        for clock in CLOCKS:
            row += [
                spread(figures["to_target"][clock][target]),
                ratio(figures["over_reference"][clock][target]),
            ]
        rows.append(row)
    return head, rows


def targets(task: Mapping[str, Any], count: int) -> list[str]:
    """Return the highest targets that the reference reaches with most seeds, from low to high."""
    found = task["field"][REFERENCE]["to_target"]["compute"]
    return [target for target in map("{:g}".format, TARGETS) if found[target]["median"] is not None][-count:]


def equal_rows(task: Mapping[str, Any]) -> tuple[list[str], Rows]:
    """Return pass@1 at equal steps, completions and computing time."""
    first = next(iter(task["field"].values()))["equal"]
    names = {"steps": "steps", "completions": "completions", "compute_seconds": "s"}
    head = ["algorithm", *(f"{item['at']:,.0f} {names[what]}" for what, items in first.items() for item in items)]
    rows = [
        [name, *(_mean(item["pass_at_1"]) for items in figures["equal"].values() for item in items)]
        for name, figures in task["field"].items()
    ]
    return head, rows


def sweep_rows(swept: Mapping[str, Mapping[str, float]]) -> tuple[list[str], Rows]:
    """Return the mean pass@1 over the run of the first seed, by learning rate."""
    rates = sorted({rate for tried in swept.values() for rate in tried}, key=float)
    rows = [[name, *(f"{tried[rate]:.3f}" if rate in tried else "" for rate in rates)] for name, tried in swept.items()]
    return ["algorithm", *rates], rows


def study_rows(studies: Mapping[str, Any]) -> tuple[list[str], Rows]:
    """Return accuracy and effective sample share of the ablations and of the runs at the limits."""
    head = [
        "variant",
        "pass@1 at the end",
        "best",
        "mean over the run",
        "least effective sample",
        "iterations ended early",
    ]
    rows = [
        [
            name,
            _mean(figures["pass_at_1"]),
            _mean(figures["best_pass_at_1"]),
            _mean(figures["area"]),
            f"{min(figures['over_an_iteration']['effective_sample_share']):.2f}",
            str(figures["ended_early"]),
        ]
        for name, figures in studies.items()
    ]
    return head, rows


def off_policy_rows(task: Mapping[str, Any]) -> tuple[list[str], Rows]:
    """Return how far off-policy the last mini-batch of an iteration of `rapid` is, as k grows."""
    head = ["k", "effective sample share", "|log rho| median", "95 %", "largest", "weights at C", "KL(mu, pi) a token"]
    found = task["field"]
    rows = []
    for name in sorted((n for n in found if n.startswith("rapid k=")), key=lambda n: found[n]["updates"]):
        last = {figure: values[-1] for figure, values in found[name]["over_an_iteration"].items()}
        rows.append(
            [
                str(found[name]["updates"]),
                f"{last['effective_sample_share']:.2f}",
                f"{last['log_ratio_p50']:.2f}",
                f"{last['log_ratio_p95']:.2f}",
                f"{last['log_ratio_max']:.2f}",
                f"{last['clip_fraction']:.0%}",
                f"{last['kl']:.4f}",
            ]
        )
    return head, rows


def cost_rows(task: Mapping[str, Any]) -> tuple[list[str], Rows]:
    """Return the milliseconds of an optimizer step by activity."""
    rows = []
    for name, figures in task["field"].items():
        spent = figures["seconds_per_step"]
        parts = [spent[kind] for kind in ("sampling", "updating", "grading")]
        rows.append([name, *(f"{1000 * seconds:.0f}" for seconds in (*parts, spent["wall"] - sum(parts)))])
    return ["algorithm", "sampling", "updating", "grading", "all else"], rows


def spread(values: Mapping[str, Any]) -> str:
    """Return the median (from-to) over seeds, or the number of seeds that reached the target."""
    if values["median"] is None:
        return (
            "never"
            if values["missing"] == values["count"]
            else f"{values['count'] - values['missing']} of {values['count']} seeds"
        )
    text = f"{values['median']:.0f}"
    if values["count"] > 1:
        last = f"{values['largest']:.0f}" if not values["missing"] else "never"
        text += f" ({values['least']:.0f}-{last})"
    return text


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _mean(pair: Sequence[float]) -> str:
    mean, deviation = pair
    return f"{mean:.3f} ± {deviation:.3f}"


def _order(figures: Mapping[str, Any], target: str) -> float:
    median = figures["to_target"][next(iter(CLOCKS))][target]["median"]
    return float("inf") if median is None else median
