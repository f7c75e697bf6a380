"""The base policies: Qwen2 of 1.2 million parameters, taught a task from answers of which half are wrong."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.learning.tasks import WRONG_SHARE, Task
from components.contract.digests import json_digest
from pipelines.demo.warm_start import WarmStart, qwen2, warm_start

LEARNING_RATE = 2e-3
WIDTH, LAYERS, HEADS = 160, 3, 5
_SEED = 0
_STAMP = "recipe"


def untrained(task: Task) -> Any:
    """Return the architecture of the task's policies with random weights."""
    return qwen2(task.tokenizer(), width=WIDTH, mlp=4 * WIDTH, layers=LAYERS, heads=HEADS, positions=task.max_length)


def base_policy(task: Task, home: Path, report: Callable[[int, float], None]) -> Path:
    """Return the directory of the task's base policy in Hugging Face format, made once and kept below `home`.

    Args:
        report: called with (steps done, loss in nats per completion token) now and then.
    """
    from components.train.trainer import keep_freed_memory

    path = home / task.name / "policy"
    stamp = home / task.name / _STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe(task):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    steps = task.warm_start_steps
    training = WarmStart(steps, task.warm_start_batch, LEARNING_RATE, _SEED)
    loss = warm_start(lambda: untrained(task), task.tokenizer(), task.demonstrations(_SEED), training, path, report)
    (path / "warm_start.json").write_text(json.dumps({"loss": loss, "steps": steps}), encoding="utf-8")
    # Written last, so that an interrupted warm start is repeated.
    stamp.write_text(recipe(task), encoding="utf-8")
    return path


def recipe(task: Task) -> str:
    """Return the digest of everything that the base policy and its prompts depend on."""
    shape = [WIDTH, LAYERS, HEADS, LEARNING_RATE, WRONG_SHARE, _SEED]
    steps = [task.warm_start_steps, task.warm_start_batch, task.words, task.alphabet, task.max_length]
    return json_digest([shape, steps, [asdict(problem) for problem in (*task.held_out, *task.train)]])
