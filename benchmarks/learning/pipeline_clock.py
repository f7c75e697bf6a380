"""The cost of the pipeline beyond computing, measured on runs of `rapid run`."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.learning.records import Job
from benchmarks.learning.side import configuration
from benchmarks.learning.tasks import TASKS, Task
from components.results import read_run
from components.store import open_run, open_store, run_uri


@dataclass(frozen=True)
class PipelineRun:
    """One run of the whole pipeline.

    Attributes:
        prepared: seconds before the first iteration.
        iterations: wall-clock seconds of each iteration.
        compute: seconds of sampling and updating of each iteration.
        parts: median seconds of an iteration, by part.
    """

    task: str
    variant: str
    prepared: float
    iterations: list[float]
    compute: list[float]
    parts: dict[str, float]

    @property
    def overhead(self) -> float:
        """The median seconds of an iteration beyond computing."""
        return statistics.median(all_ - own for all_, own in zip(self.iterations, self.compute, strict=True))


def kept(job: Job, iterations: int, home: Path) -> PipelineRun | None:
    """Return the saved run, or None if there is none."""
    path = _record(job, iterations, home)
    return PipelineRun(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def measure(job: Job, iterations: int, home: Path, cores: Sequence[int] | None) -> None:
    """Run the job's first iterations through the pipeline."""
    task = TASKS[job.task]()
    record = _record(job, iterations, home)
    name, folder = record.stem, record.parent
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / "prompts.jsonl"
    _write_prompts(task, prompts)
    config = configuration(job, task, home / job.task / "policy").model_dump(mode="json")
    config["data"]["train"] = str(prompts)
    config["run"]["name"] = name.replace("=", "")
    config["loop"]["iterations"] = iterations
    config["store"] = str(folder / "store")
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "run", str(file)],
        check=True,
        stdout=subprocess.DEVNULL,
        **bound_to(cores),
    )
    results = read_run(open_run(run_uri(open_store(config["store"]), config["run"]["name"])))
    times = [iteration.time for iteration in results.iterations if iteration.time]
    run = PipelineRun(
        task=job.task,
        variant=job.variant.name,
        prepared=results.since_start(results.prepared),
        iterations=[time.seconds for time in times],
        compute=[time.compute for time in times],
        parts={key: statistics.median(time.parts[key] for time in times) for key in times[0].parts},
    )
    record.write_text(json.dumps(asdict(run)) + "\n", encoding="utf-8")


def _record(job: Job, iterations: int, home: Path) -> Path:
    return home / "pipeline" / job.task / f"{job.path(home).stem}.{iterations}.json"


def bound_to(cores: Sequence[int] | None) -> dict[str, Any]:
    """Return arguments of Popen for a process that runs on these cores only."""
    if cores is None:
        return {}
    return {
        "env": {**os.environ, "OMP_NUM_THREADS": str(len(cores))},
        "preexec_fn": lambda: os.sched_setaffinity(0, cores),
    }


def _write_prompts(task: Task, path: Path) -> None:
    rows = ({"prompt": p.prompt, "answer": p.answer, **json.loads(p.metadata)} for p in task.train)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
