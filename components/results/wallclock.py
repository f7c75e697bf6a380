"""The wall-clock time of an iteration, by what it was spent on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from components.contract.manifest import Timings


@dataclass(frozen=True)
class StageTime:
    """Seconds of one stage in one iteration.

    Shards that ran side by side count once, with the longest of them; shards that ran one after the other
    add up.
    """

    seconds: float
    """From when the stage's own code began until its manifest, without `start`."""
    start: float
    """Starting processes and importing what precedes the stage's own code."""
    load: float
    compute: float
    store: float

    @classmethod
    def of(cls, shards: Sequence[Timings]) -> "StageTime":
        longest = [max(together, key=_span) for together in _side_by_side(shards)]
        return cls(
            seconds=sum(_span(t) for t in longest),
            start=sum(t.start for t in longest),
            load=sum(t.load for t in longest),
            compute=sum(t.compute for t in longest),
            store=sum(t.store for t in longest),
        )


@dataclass(frozen=True)
class IterationTime:
    """One iteration, from the end of what came before it until its next policy was committed."""

    seconds: float
    """Wall clock. The time during which a run was stopped counts too."""
    rollout: StageTime
    reward: StageTime
    train: StageTime
    busy: float
    """Seconds during which at least one stage's own code ran."""

    @property
    def stages(self) -> dict[str, StageTime]:
        return {"rollout": self.rollout, "reward": self.reward, "train": self.train}

    @property
    def compute(self) -> float:
        """Seconds spent sampling or updating."""
        return self.rollout.compute + self.train.compute

    @property
    def compute_share(self) -> float:
        """Share of the wall clock spent sampling or updating; everything else counts against it."""
        return self.compute / self.seconds if self.seconds > 0 else 0.0

    @property
    def parts(self) -> dict[str, float]:
        """Seconds by what they were spent on; they add up to the wall clock.

        `start` is bounded by the time in which no stage's own code ran, because a process may be started
        ahead of its turn; `other` is what remains: the orchestrator between stages, and what a stage did
        not account for.
        """
        stages = self.stages.values()
        parts = {
            "sampling": self.rollout.compute,
            "updating": self.train.compute,
            "reward": self.reward.compute,
            "load": sum(stage.load for stage in stages),
            "store": sum(stage.store for stage in stages),
            "start": min(sum(stage.start for stage in stages), max(0.0, self.seconds - self.busy)),
        }
        parts["other"] = max(0.0, self.seconds - sum(parts.values()))
        return parts


def iteration_time(
    since: datetime, rollout: Sequence[Timings], reward: Sequence[Timings], train: Timings
) -> IterationTime:
    """`since` is when the previous iteration, or prepare, was committed."""
    everything = [*rollout, *reward, train]
    return IterationTime(
        seconds=(train.finished - since).total_seconds(),
        rollout=StageTime.of(rollout),
        reward=StageTime.of(reward),
        train=StageTime.of([train]),
        busy=sum(
            (max(t.finished for t in together) - min(t.started for t in together)).total_seconds()
            for together in _side_by_side(everything)
        ),
    )


def compute_after(moment: datetime, stages: Iterable[Timings]) -> float:
    """Return the seconds that stages computed after a moment; of one then at work at most what was left of it."""
    return sum(min(t.compute, max(0.0, (t.finished - max(t.started, moment)).total_seconds())) for t in stages)


def _span(timings: Timings) -> float:
    return (timings.finished - timings.started).total_seconds()


def _side_by_side(shards: Iterable[Timings]) -> list[list[Timings]]:
    """Group what overlaps in time."""
    groups: list[list[Timings]] = []
    for shard in sorted(shards, key=lambda t: t.started):
        if groups and shard.started < max(t.finished for t in groups[-1]):
            groups[-1].append(shard)
        else:
            groups.append([shard])
    return groups


def duration(seconds: float) -> str:
    """Format seconds for people: `4.2 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
