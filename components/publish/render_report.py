"""The HTML report of a run, finished or not: one file, no outside resources."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from components.contract.metrics import StepMetrics
from components.contract.yaml_text import dump_yaml
from components.publish import figures
from components.publish.figures import Series
from components.publish.samples import pick
from components.results import (
    RoundResult,
    RunResults,
    best_policy,
    evaluation_warnings,
    read_completions,
    run_warnings,
    shown_rows,
)
from components.results.wallclock import duration
from components.store import Run
from components.tracking import Registration, read_state

_HERE = Path(__file__).parent
_POINTS = 500


def render_report(run: Run, results: RunResults) -> str:
    """Return the report of everything committed so far, as one HTML page without outside resources.

    Args:
        results: of this run.

    Raises:
        InputError: a committed file is missing or corrupted.
    """
    best = best_policy(run, results)
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"duration": duration, "number": number, "percent": percent}
    rounds = _first_and_last(results)
    completions = [shown_rows(read_completions(run, r.round_)) for r in rounds]
    picked = pick(completions, run.config.evaluate.pass_threshold, run.config.run.seed) if rounds else []
    return environment.get_template("report.html.j2").render(
        css=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        run=run,
        config=run.config,
        results=results,
        max_k=max(run.config.evaluate.pass_k),
        steps=_steps(results),
        warnings=run_warnings(results) + evaluation_warnings(run.config, results),
        learning=_learning(results),
        optimisation=_optimisation(run, results),
        time=_time(results),
        colours=figures.PART_COLOURS,
        lengths=_lengths(rounds, completions),
        samples=list(zip(rounds, picked, strict=True)),
        best=best,
        registration=_registration(run, best),
        policy_uri=run.policy_location(best),
        policy_path=run.local_policy(best),
        configuration=dump_yaml(run.config.model_dump(mode="json")),
    )


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"


def _registration(run: Run, version: int) -> Registration | None:
    policy = run.policy(version).require()
    state = read_state(run)
    registration = state.registration if state else None
    if registration and registration.weights_digest == policy.facts["weights_digest"]:
        return registration
    return None


def _steps(results: RunResults) -> list[StepMetrics]:
    return [step for iteration in results.iterations if iteration.train for step in iteration.train.steps]


def _first_and_last(results: RunResults) -> list[RoundResult]:
    """Return the rounds whose completions are compared: those with held-out prompts, if there are any.

    Without them the last round, which evaluates, has none.
    """
    rounds = list(results.evaluated.values()) or [r for r in results.rounds if r.completions]
    return rounds[:1] + rounds[1:][-1:]


def _learning(results: RunResults) -> list[Markup]:
    """Rewards over policy versions, and over the wall clock; nothing for a single policy."""
    if len(results.rounds) < 2:
        return []
    unit, seconds = next((u, s) for u, s in (("hours", 3600), ("minutes", 60), ("seconds", 1)) if _fits(results, s))

    def chart(title: str, label: str, x: Callable[[RoundResult], float], whole_steps: bool) -> Markup:
        return Markup(figures.lines(title, _scores(results, x), label, whole_steps=whole_steps))

    return [
        chart("Reward over iterations", "iterations the policy was trained for", lambda r: r.policy_version, True),
        chart(
            "Reward over wall-clock time",
            f"{unit} since the run began",
            lambda r: results.since_start(r.finished) / seconds,
            False,
        ),
    ]


def _fits(results: RunResults, unit: int) -> bool:
    return unit == 1 or results.seconds >= 3 * unit


def _scores(results: RunResults, x: Callable[[RoundResult], float]) -> list[Series]:
    trained = [(x(i.sampled), i.sampled.train.reward) for i in results.iterations if i.sampled.train]
    series = [_series("sampled reward, training prompts", trained, "slate", dashed=True)]
    evaluated = list(results.evaluated.values())
    rewards = [r.eval.reward for r in evaluated if r.eval]
    series.append(_series("reward, held-out", [(x(r), v) for r, v in zip(evaluated, rewards, strict=True)], "blue"))
    ks = sorted(set.intersection(*(set(r.pass_at_k) for r in evaluated))) if evaluated else []
    for k, colour in zip(sorted({*ks[:1], *ks[-1:]}), ("green", "orange"), strict=False):
        values = [r.pass_at_k[k] for r in evaluated]
        # With rewards of 0 and 1 the mean reward is pass@1.
        if not np.allclose(values, rewards, atol=1e-6):
            series.append(_series(f"pass@{k}", [(x(r), v) for r, v in zip(evaluated, values, strict=True)], colour))
    return [one for one in series if len(one.x)]


def _series(label: str, points: Sequence[tuple[float, float]], colour: str, dashed: bool = False) -> Series:
    return Series(label, [x for x, _ in points], [y for _, y in points], colour, dashed)


def _optimisation(run: Run, results: RunResults) -> list[tuple[str, Markup]]:
    """Return (caption, chart) pairs over optimizer steps."""
    steps = _steps(results)
    if not steps:
        return []
    ends = [i.train.steps[-1].step + 0.5 for i in results.iterations if i.train and i.train.steps]

    def chart(title: str, fields: Sequence[tuple[str, str, str]], floor: float | None = None) -> Markup:
        x = _thinned([step.step for step in steps])
        series = [
            Series(label, x, _thinned([getattr(step, field) for step in steps]), colour)
            for label, field, colour in fields
        ]
        if floor is not None:
            series.append(Series("floor", [x[0], x[-1]], [floor, floor], "red", dashed=True, markers=False))
        return Markup(figures.lines(title, series, "optimizer step", boundaries=ends[:-1]))

    return [
        (
            "Effective sample size: the share of a mini-batch that still counts after importance weighting. "
            "It falls as the policy moves away from the one that sampled, and recovers with each new batch.",
            chart(
                "Effective sample share over optimizer steps",
                [("effective sample share", "effective_sample_share", "blue")],
                run.config.train.updates.until_share,
            ),
        ),
        (
            "Log-ratio between the policy and the one that sampled, per completion, in nats.",
            chart(
                "Absolute log-ratio over optimizer steps",
                [("mean |log ρ|", "log_ratio_mean", "blue"), ("95th percentile", "log_ratio_p95", "orange")],
            ),
        ),
        (
            "Divergence of the policy from the one that sampled, nats per token.",
            chart("KL divergence over optimizer steps", [("KL(μ || π)", "kl", "violet")]),
        ),
        *(
            [
                (
                    "Distance of the policy from its guide, nats per token.",
                    chart("KL to the guide over optimizer steps", [("KL(π || guide)", "guide_kl", "violet")]),
                )
            ]
            if run.config.train.guide
            else []
        ),
        (
            "Entropy of the policy, nats per token: how undecided it is. Near zero it no longer explores.",
            chart("Entropy over optimizer steps", [("entropy", "entropy", "green")]),
        ),
    ]


def _thinned(values: Sequence[float]) -> list[float]:
    """At most 500 values, each the mean of its neighbours, so that long runs keep the page small."""
    if len(values) <= _POINTS:
        return list(values)
    return [float(chunk.mean()) for chunk in np.array_split(np.asarray(values, float), _POINTS)]


def _time(results: RunResults) -> Markup | None:
    timed = [(i.number, i.time) for i in results.iterations if i.time]
    if not timed:
        return None
    return Markup(
        figures.time_bars(
            "Seconds per iteration by what they were spent on",
            [n for n, _ in timed],
            [t.parts for _, t in timed],
            [t.compute_share for _, t in timed],
        )
    )


def _lengths(rounds: Sequence[RoundResult], completions: Sequence[pa.Table]) -> Markup | None:
    if not rounds:
        return None
    pairs = [
        (f"policy {r.policy_version}", np.asarray(pc.list_value_length(table["completion_token_ids"])))
        for r, table in zip(rounds, completions, strict=True)
    ]
    return Markup(figures.length_histogram("Distribution of completion lengths", pairs))
