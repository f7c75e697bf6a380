"""Runs on one task in their own process, started by `benchmarks/algorithms.py`.

python -m benchmarks.learning.side HOME JOBS.json
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.learning.records import Job, save
from benchmarks.learning.tasks import TASKS, Task
from benchmarks.learning.variants import GROUP_SIZE, MINI_BATCH_PROMPTS, Variant
from components.contract.config import RunConfig

EVALUATE_EVERY = 16
"""Optimizer steps between evaluations, rounded up to the end of an iteration."""


def configuration(job: Job, task: Task, policy: Path) -> RunConfig:
    """Return the configuration of a job, valid for the pipeline too."""
    tree: dict[str, Any] = {
        "run": {"name": f"{job.task}-seed{job.seed}", "seed": job.seed},
        "model": {"path": str(policy), "dtype": "float32", "max_length": task.max_length},
        "data": {"train": "prompts.jsonl", "eval_prompts": 0},
        "rollout": {
            "group_size": GROUP_SIZE,
            "max_tokens": task.max_tokens,
            "engine": {"max_num_seqs": 256},
        },
        "reward": task.grader,
        "train": {
            "objective": job.variant.objective,
            "updates": job.variant.updates,
            "mini_batch_prompts": MINI_BATCH_PROMPTS,
            "learning_rate": job.learning_rate,
        },
        "tracking": {"enabled": False},
    }
    for key, value in job.variant.settings.items():
        section, name = key.split(".")
        tree[section][name] = value
    return RunConfig.model_validate(tree)


def main(home: Path, recipe: str, jobs: list[Job]) -> None:
    """Run the jobs of one task one after another and save each when it ends."""
    from benchmarks.learning.resident import Bench, Resident

    task = TASKS[jobs[0].task]()
    policy = home / task.name / "policy"
    with Bench(configuration(jobs[0], task, policy), task, policy) as bench:
        for job in jobs:
            resident = Resident(configuration(job, task, policy), bench)
            begin = time.perf_counter()
            for course in resident.run(job.steps, EVALUATE_EVERY):
                point = course.points[-1]
                print(f"{job.name}: step {point.step}, pass@1 {point.pass_at_1:.3f}", file=sys.stderr, flush=True)
            seconds = time.perf_counter() - begin
            save(job.path(home), job.digest(recipe), job, course, seconds)
            first, last = course.points[0], course.points[-1]
            print(
                f"{job.name}: pass@1 {first.pass_at_1:.3f} to {last.pass_at_1:.3f}, "
                f"{last.seconds['sampling']:.1f} s sampling, {last.seconds['updating']:.1f} s updating, "
                f"{seconds:.0f} s in all",
                flush=True,
            )


if __name__ == "__main__":
    # vLLM reads it at import.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    asked = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    main(
        Path(sys.argv[1]),
        asked["recipe"],
        [Job(**{**job, "variant": Variant(**job["variant"])}) for job in asked["jobs"]],
    )
