"""The results of a run as tables and lines for the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.contract.config import RunConfig
from components.contract.printable import printable
from components.contract.schemas import STATUSES
from components.results import Breakdown, IterationResult, RoundResult, RunResults, run_warnings
from components.results.wallclock import duration

STAGES = ("rollout", "reward", "train")


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def iteration_line(result: IterationResult) -> str:
    """Return one iteration as one line, for terminals and logs."""
    held_out = ", ".join(f"pass@{k} {value:.3f}" for k, value in result.sampled.pass_at_k.items())
    words = [f"iteration {result.number}: reward {_number(result.sampled.train_reward)}"]
    if held_out:
        words.append(f"held-out {held_out}")
    train = result.train
    if train is not None and train.steps:
        shares = [step.effective_sample_share for step in train.steps]
        words.append(
            f"{len(train.steps)} updates, effective sample {sum(shares) / len(shares):.2f} (least {min(shares):.2f})"
        )
    if train is not None and train.outcome == "target_reached":
        words.append("target reached, policy kept")
    if result.time:
        stages = ", ".join(f"{name} {stage.seconds:.1f} s" for name, stage in result.time.stages.items())
        words.append(f"{stages}, {result.time.compute_share:.0%} computing")
    if train is not None and train.ended_early:
        words.append(f"ended early: {train.ended_early}")
    return "; ".join(words)


def print_results(config: RunConfig, results: RunResults, console: Console) -> None:
    """Print the table of a run, its totals and its warnings."""
    console.print(results_table(config, results))
    console.print(_totals_line(results), highlight=False, soft_wrap=True)
    print_warnings(results, console)


def print_warnings(results: RunResults, console: Console) -> None:
    """Print the warnings about the rewards of all rounds."""
    for warning in run_warnings(results):
        console.print(printable(warning), style="yellow", highlight=False, markup=False, soft_wrap=True)


def results_table(config: RunConfig, results: RunResults) -> Table:
    """Return a row per policy: its evaluation, and the iteration that sampled it.

    Columns: mean reward and pass@k on held-out prompts, mean reward of the training completions, updates on them,
    effective sample size as a share, seconds per stage, share of the wall clock spent sampling or updating. In a
    pipelined run two iterations sample policy 0: each has a row, and a column with the iteration's number is added.
    """
    ks = sorted({1, *config.evaluate.pass_k}) if config.data.eval_prompts else []
    table = _plain(f"Run {config.run.name}")
    stale = config.loop.staleness > 0
    head = ["policy", "iteration"] if stale else ["policy"]
    names = [*head, "held-out", *(f"pass@{k}" for k in ks), "sampled", "steps", "ESS", *STAGES, "comp."]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for version in range(results.policy_version + 1):
        sampling: list[IterationResult | None] = [i for i in results.iterations if i.sampled.policy_version == version]
        for iteration in sampling or [None]:
            evaluated = iteration.sampled if iteration and iteration.sampled.eval else results.evaluated.get(version)
            head = [str(version), str(iteration.number) if iteration else "-"] if stale else [str(version)]
            table.add_row(*head, *_evaluation_cells(evaluated, ks), *_iteration_cells(iteration))
    return table


def _evaluation_cells(evaluated: RoundResult | None, ks: list[int]) -> list[str]:
    if evaluated is None:
        return ["-"] * (1 + len(ks))
    return [_number(evaluated.eval_reward), *(_number(evaluated.pass_at_k.get(k)) for k in ks)]


def _iteration_cells(iteration: IterationResult | None) -> list[str]:
    if iteration is None:
        return ["-"] * 7
    steps = iteration.train.steps if iteration.train else ()
    share = sum(step.effective_sample_share for step in steps) / len(steps) if steps else None
    stages = [f"{stage.seconds:.1f} s" for stage in iteration.time.stages.values()] if iteration.time else ["-"] * 3
    computing = f"{iteration.time.compute_share:.0%}" if iteration.time else "-"
    return [_number(iteration.sampled.train_reward), str(len(steps)), _number(share, 2), *stages, computing]


def _totals_line(results: RunResults) -> str:
    """Return the completions, wall clock and compute share of a run in one line."""
    share = results.compute_share
    computing = f"; {share:.0%} of the iterations' time was spent sampling or updating" if share is not None else ""
    completions = sum(result.completions for result in results.rounds)
    return f"{completions:,} completions in {duration(results.seconds)} since prepare started{computing}"


def grading_table(results: RunResults) -> Table:
    """Return a row per round: completions per status, mean rewards, seconds of grading, version of the graders."""
    table = _plain("Rewards by round")
    for name in ("round", *STATUSES, "sampled", "held-out", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("graders", overflow="fold")
    for result in results.rounds:
        table.add_row(
            str(result.round_),
            *(f"{result.status[status]:,}" if result.status[status] else "-" for status in STATUSES),
            _number(result.train_reward),
            _number(result.eval_reward),
            f"{sum(timings.compute for timings in result.reward):.1f}",
            result.grader_version,
        )
    return table


def breakdown_table(title: str, column: str | None, entries: list[Breakdown]) -> Table:
    """Return a row per subject: prompts, mean reward, pass@k, majority vote, completions that were not graded."""
    passes = sorted({k for entry in entries for k in entry.pass_at_k})
    majorities = sorted({k for entry in entries for k in entry.majority_at_k})
    table = _plain(title)
    table.add_column(Text(printable(column or "")))
    names = ["prompts", "reward", *(f"pass@{k}" for k in passes), *(f"maj@{k}" for k in majorities), "failed"]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        table.add_row(
            Text(printable(entry.subject)),
            str(entry.prompts),
            _number(entry.reward),
            *(_number(entry.pass_at_k.get(k)) for k in passes),
            *(_number(entry.majority_at_k.get(k)) for k in majorities),
            str(entry.failed) if entry.failed else "-",
        )
    return table


def _plain(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
