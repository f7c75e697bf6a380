"""A run of the comparison: its configuration, its place, and `rapid run` on it."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.learning.tasks import HELD_OUT, Task
from benchmarks.learning.variants import GROUP_SIZE, MINI_BATCH_PROMPTS, Variant
from components.contract.config import RunConfig
from components.contract.layout import RunLayout
from components.contract.manifest import now
from components.store import Run, open_store

EVALUATE_EVERY = 16
"""Optimizer steps between evaluated policies, or those of an iteration where it has more."""


class RunFailed(Exception):
    """A run failed, or runs that a report needs are missing."""


@dataclass(frozen=True)
class Job:
    """A variant on a task with a learning rate, a seed and a number of optimizer steps."""

    task: str
    variant: Variant
    learning_rate: float
    seed: int
    steps: int

    @property
    def label(self) -> str:
        return f"{self.task} / {self.variant.name} / {self.learning_rate:g} / seed {self.seed}"

    @property
    def run_name(self) -> str:
        words = re.sub("[,=/]", "", self.variant.name).replace(" ", "-")
        return f"{words}.{self.learning_rate:g}.seed{self.seed}"

    @property
    def iterations(self) -> int:
        """The number of iterations that hold at least `steps` optimizer steps, or a multiple of them."""
        return math.ceil(self.steps * self.variant.longer / self.variant.updates)


def configuration(job: Job, task: Task, folder: Path) -> RunConfig:
    """Return the configuration of a job; `folder` holds the task's base policy, prompts and store."""
    tree: dict[str, Any] = {
        "run": {"name": job.run_name, "seed": job.seed},
        "store": str(folder / "store"),
        "model": {"path": str(folder / "policy"), "dtype": "float32", "max_length": task.max_length},
        "data": {
            "train": str(folder / "train.jsonl"),
            "eval": str(folder / "eval.jsonl"),
            "eval_prompts": HELD_OUT,
        },
        "rollout": {"group_size": GROUP_SIZE, "max_tokens": task.max_tokens, "engine": {"max_num_seqs": 256}},
        "reward": task.grader,
        "train": {
            "objective": job.variant.objective,
            "updates": job.variant.updates,
            "mini_batch_prompts": MINI_BATCH_PROMPTS,
            "learning_rate": job.learning_rate,
        },
        "evaluate": {"every": max(1, EVALUATE_EVERY // job.variant.updates), "samples": 8, "pass_k": [1, 8]},
        "tracking": {"enabled": False},
        "loop": {"iterations": job.iterations},
    }
    for key, value in job.variant.settings.items():
        section, name = key.split(".")
        tree[section][name] = value
    return RunConfig.parse(tree, "configuration")


@dataclass(frozen=True)
class JobFiles:
    """Files of a job in its task's folder."""

    job: Job
    folder: Path

    def open(self, config: RunConfig) -> Run:
        return Run(open_store(config.store.uri), RunLayout(config.run.name), config)

    @property
    def log(self) -> Path:
        return self._file("log")

    @property
    def starts(self) -> list[datetime]:
        """When `rapid run` was started; several times where it was stopped in between."""
        return [datetime.fromisoformat(line) for line in self._file("starts").read_text(encoding="utf-8").splitlines()]

    def run(self, config: RunConfig, cores: Sequence[int] | None) -> None:
        """Start or continue the job with `rapid run`, on these cores only if any are given.

        Raises:
            RunFailed: it ended without success.
        """
        file = self._file("yaml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
        with self._file("starts").open("a", encoding="utf-8") as starts:
            starts.write(f"{now().isoformat()}\n")
        with self.log.open("a", encoding="utf-8") as log:
            command = [sys.executable, "-m", "pipelines.cli.entry", "run", str(file), "--layout", "pod"]
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **_bound_to(cores))
            try:
                status = process.wait()
            except KeyboardInterrupt:
                # Ctrl-C has reached it too; it ends its stages first.
                process.wait()
                raise
        if status:
            raise RunFailed(f"{self.job.label} ended with status {status}; its output is in {self.log}")

    def _file(self, suffix: str) -> Path:
        return self.folder / "runs" / f"{self.job.run_name}.{suffix}"


def _bound_to(cores: Sequence[int] | None) -> dict[str, Any]:
    if cores is None:
        return {}
    return {
        "env": {**os.environ, "OMP_NUM_THREADS": str(len(cores))},
        "preexec_fn": lambda: os.sched_setaffinity(0, cores),
    }
