"""Measured runs, saved in a file each, so that a stopped benchmark can continue."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.learning.resident import Course, Point
from benchmarks.learning.variants import Variant
from components.contract.digests import json_digest

_STEP_FIGURES = (
    "reward",
    "effective_sample_share",
    "clip_fraction",
    "log_ratio_p50",
    "log_ratio_p95",
    "log_ratio_max",
    "kl",
    "entropy",
    "gradient_norm",
    "seconds",
)


@dataclass(frozen=True)
class Job:
    """One run: a variant on a task with a learning rate, a seed and a number of optimizer steps."""

    task: str
    variant: Variant
    learning_rate: float
    seed: int
    steps: int

    @property
    def name(self) -> str:
        return f"{self.task} / {self.variant.name} / {self.learning_rate:g} / seed {self.seed}"

    def path(self, home: Path) -> Path:
        words = self.variant.name.replace(",", "").replace(" ", "-")
        return home / "runs" / self.task / f"{words}.{self.learning_rate:g}.seed{self.seed}.steps{self.steps}.json"

    def digest(self, recipe: str) -> str:
        """Return the digest of all that the run depends on; `recipe` is the digest of task and base policy."""
        return json_digest([recipe, asdict(self)])


@dataclass(frozen=True)
class Record:
    """A finished run as it is saved.

    Attributes:
        figures: values per optimizer step, by name.
        updates: number of optimizer steps of every iteration.
        seconds: wall-clock seconds of the run without evaluations.
    """

    job: Job
    points: list[Point]
    figures: dict[str, list[float]]
    updates: list[int]
    ended_early: list[str]
    seconds: float


def save(path: Path, digest: str, job: Job, course: Course, seconds: float) -> None:
    figures = {name: [round(getattr(step, name), 5) for step in course.steps] for name in _STEP_FIGURES}
    kept = {
        "digest": digest,
        "job": asdict(job),
        "points": [asdict(point) for point in course.points],
        "figures": figures,
        "updates": course.updates,
        "ended_early": course.ended_early,
        "seconds": seconds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    fresh.replace(path)


def load(path: Path, digest: str) -> Record | None:
    """Return the saved run, or None if there is none with this digest."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if kept["digest"] != digest:
        return None
    job = Job(**{**kept["job"], "variant": Variant(**kept["job"]["variant"])})
    points = [Point(**point) for point in kept["points"]]
    return Record(job, points, kept["figures"], kept["updates"], kept["ended_early"], kept["seconds"])
