"""The base policies: Qwen2 of 1.2 million parameters, taught a task from answers of which many are wrong."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.learning.tasks import Problem, Task
from components.contract.digests import json_digest
from pipelines.demo.warm_start import WarmStart, qwen2, warm_start

LEARNING_RATE = 2e-3
WIDTH, LAYERS, HEADS = 160, 3, 5
_SEED = 0
_STAMP = "ready"


def untrained(task: Task) -> Any:
    """Return the architecture of the task's policies with random weights."""
    return qwen2(task.tokenizer(), width=WIDTH, mlp=4 * WIDTH, layers=LAYERS, heads=HEADS, positions=task.max_length)


def task_folder(task: Task, home: Path) -> Path:
    """Return the folder of a task's base policy, prompts and runs: another recipe has another one."""
    return home / task.name / recipe(task)[:12]


def make_base_policy(task: Task, folder: Path, report: Callable[[int, float], None]) -> None:
    """Make `policy` in Hugging Face format, `train.jsonl` and `eval.jsonl` in a task's folder, once.

    Args:
        report: called with (steps done, loss in nats per completion token) now and then.
    """
    if (folder / _STAMP).exists():
        return
    from components.train.memory import keep_freed_memory

    folder.mkdir(parents=True, exist_ok=True)
    _write_prompts(task.train, folder / "train.jsonl")
    _write_prompts(task.held_out, folder / "eval.jsonl")
    keep_freed_memory()
    training = WarmStart(task.warm_start_steps, task.warm_start_batch, LEARNING_RATE, _SEED)
    samples = task.demonstrations(_SEED)
    warm_start(lambda: untrained(task), task.tokenizer(), samples, training, folder / "policy", report)
    # Written last, so that an interrupted warm start is repeated.
    (folder / _STAMP).touch()


def recipe(task: Task) -> str:
    """Return the digest of everything that the base policy and its prompts depend on."""
    shape = [WIDTH, LAYERS, HEADS, LEARNING_RATE, task.wrong_share, _SEED]
    steps = [task.warm_start_steps, task.warm_start_batch, task.words, task.alphabet, task.max_length]
    return json_digest([shape, steps, [asdict(problem) for problem in (*task.held_out, *task.train)]])


def _write_prompts(problems: Iterable[Problem], path: Path) -> None:
    rows = ({"prompt": p.prompt, "answer": p.answer, **json.loads(p.metadata)} for p in problems)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
