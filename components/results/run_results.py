"""A whole run: its iterations, evaluations and newest policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from components.contract.errors import explain_validation
from components.contract.layout import Round
from components.contract.manifest import Manifest, Timings
from components.contract.metrics import TrainMetrics
from components.results.round_results import RoundResult, read_round
from components.results.wallclock import IterationTime, iteration_time
from components.store import OutputDirectory, Run


@dataclass(frozen=True)
class IterationResult:
    """One iteration whose completions are all scored."""

    sampled: RoundResult
    train: TrainMetrics | None
    """None until the train stage is committed."""
    trained: Timings | None
    """The train stage's; None until it is committed."""
    time: IterationTime | None

    @property
    def number(self) -> int:
        return self.sampled.round_.number

    @property
    def finished(self) -> datetime | None:
        """When the train stage was committed."""
        return self.trained.finished if self.trained else None


@dataclass(frozen=True)
class RunResults:
    started: datetime
    """When prepare began."""
    prepared: datetime
    """When prompts and base policy were committed."""
    iterations: tuple[IterationResult, ...]
    evaluations: tuple[RoundResult, ...]
    policy_version: int
    """The newest committed policy; 0 is the base policy."""

    @property
    def rounds(self) -> list[RoundResult]:
        """Every complete round, in the order they finished."""
        return sorted([*(i.sampled for i in self.iterations), *self.evaluations], key=lambda r: r.finished)

    @property
    def evaluated(self) -> dict[int, RoundResult]:
        """Policy version -> the first round that sampled held-out prompts from it, by version."""
        rounds = [*self.evaluations, *(i.sampled for i in reversed(self.iterations))]
        found = {r.policy_version: r for r in rounds if r.eval}
        return dict(sorted(found.items()))

    @property
    def finished(self) -> datetime:
        """When the last thing read here was committed."""
        trained = [i.finished for i in self.iterations if i.finished]
        return max([self.prepared, *trained, *(r.finished for r in self.rounds)])

    @property
    def seconds(self) -> float:
        return self.since_start(self.finished)

    def since_start(self, moment: datetime) -> float:
        """Wall-clock seconds since prepare began."""
        return (moment - self.started).total_seconds()

    @property
    def compute_share(self) -> float | None:
        """Share of the wall clock of all finished iterations, each by itself, spent sampling or updating."""
        times = [i.time for i in self.iterations if i.time]
        seconds = sum(t.seconds for t in times)
        return sum(t.compute for t in times) / seconds if seconds > 0 else None


def run_started(run: Run) -> tuple[datetime, datetime]:
    """Return when the process of prepare started, and when it committed.

    Raises:
        InputError: prepare has not finished.
    """
    timings = [run.directory(key).require().timings for key in (run.layout.prompts, run.layout.policy(0))]
    return min(t.started - timedelta(seconds=t.start) for t in timings), max(t.finished for t in timings)


def read_iteration(run: Run, number: int) -> IterationResult | None:
    """Return the results of an iteration, None until its rewards are committed.

    Raises:
        InputError: a committed file is missing or corrupted.
    """
    round_ = Round.iteration(number)
    result = read_round(run, round_)
    if result is None:
        return None
    directory = run.directory(run.layout.train(number))
    manifest = directory.manifest()
    if manifest is None:
        return IterationResult(result, None, None, None)
    since = run_started(run)[1] if number == 1 else _trained(run, number - 1).timings.finished
    # Of pipelined iterations the next samples while one trains.
    since = min(since, *(timings.started for timings in result.rollout))
    return IterationResult(
        sampled=result,
        train=read_train_metrics(directory, manifest),
        trained=manifest.timings,
        time=iteration_time(since, result.rollout, result.reward, manifest.timings),
    )


def read_run(run: Run) -> RunResults:
    """Return the results of everything that is committed so far.

    Raises:
        InputError: prepare has not finished, or a committed file is missing or corrupted.
    """
    started, prepared = run_started(run)
    iterations: list[IterationResult] = []
    while iteration := read_iteration(run, len(iterations) + 1):
        iterations.append(iteration)
    version = run.policy_version()
    evaluations = (read_round(run, Round.evaluation(v)) for v in range(version + 1))
    return RunResults(started, prepared, tuple(iterations), tuple(e for e in evaluations if e), version)


def best_policy(run: Run, results: RunResults) -> int:
    """Return the policy that a run publishes: of those that it made, that with the highest pass@1 on held-out prompts.

    The earliest of equal ones, and only one whose weights are there. Where none was evaluated, the newest policy.
    """
    made = {version: result for version, result in results.evaluated.items() if version > 0}
    return next(filter(run.keeps_policy, best_first(made)), results.policy_version)


def best_first(evaluated: Mapping[int, RoundResult]) -> list[int]:
    """Return evaluated policies by falling pass@1 on held-out prompts, the earlier of equal ones first."""
    return sorted(evaluated, key=lambda version: (-evaluated[version].pass_at_k[1], version))


def _trained(run: Run, iteration: int) -> Manifest:
    return run.directory(run.layout.train(iteration)).require()


def read_train_metrics(directory: OutputDirectory, manifest: Manifest) -> TrainMetrics:
    """Return the measurements of a train stage. Raises InputError where they are missing or corrupted."""
    try:
        return TrainMetrics.model_validate_json(directory.read("metrics.json", manifest))
    except ValidationError as error:
        raise explain_validation(error, f"{directory.uri}/metrics.json") from None
