"""The base policies: Qwen2 of 1.2 million parameters, taught a task from answers of which half are wrong."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.learning.tasks import WRONG_SHARE, Task
from components.contract.digests import json_digest

LEARNING_RATE = 2e-3
WIDTH, LAYERS, HEADS = 160, 3, 5
_SEED = 0
_STAMP = "recipe"


def untrained(task: Task) -> Any:
    """Random weights; three times the default's spread, with which a policy of this width learns to carry sooner."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = task.tokenizer()
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=task.max_length,
            initializer_range=0.06,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def base_policy(task: Task, home: Path, report: Callable[[int, float], None]) -> Path:
    """Directory of the task's base policy in Hugging Face format; made once, then kept below `home`.

    Args:
        report: called with (steps done, loss in nats per completion token) now and then.
    """
    path = home / task.name / "policy"
    stamp = home / task.name / _STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe(task):
        return path
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".warm-start-", dir=path.parent) as scratch:
        _train(task, Path(scratch) / "policy", report)
        (Path(scratch) / "policy").replace(path)
    # Written last: a warm start that was stopped is made again.
    stamp.write_text(recipe(task), encoding="utf-8")
    return path


def recipe(task: Task) -> str:
    """Digest of all that the base policy and its prompts depend on."""
    shape = [WIDTH, LAYERS, HEADS, LEARNING_RATE, WRONG_SHARE, _SEED]
    steps = [task.warm_start_steps, task.warm_start_batch, task.words, task.alphabet, task.max_length]
    return json_digest([shape, steps, [asdict(problem) for problem in (*task.held_out, *task.train)]])


def _train(task: Task, into: Path, report: Callable[[int, float], None]) -> None:
    import torch
    from transformers.utils import logging

    from components.train.trainer import keep_freed_memory

    keep_freed_memory()
    torch.manual_seed(_SEED)
    tokenizer, model, steps = task.tokenizer(), untrained(task), task.warm_start_steps
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    samples = task.demonstrations(_SEED)
    for step in range(1, steps + 1):
        batch = list(islice(samples, task.warm_start_batch))
        prompts = [tokenizer.encode(prompt) for prompt, _ in batch]
        answers = [[*tokenizer.encode(answer), tokenizer.eos_token_id] for _, answer in batch]
        width = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        labels = torch.full((len(batch), width), -100)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor(prompt + answer)
            labels[row, len(prompt) : end] = torch.tensor(answer)
        logits = model(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0 or step == steps:
            report(step, loss.item())
    logging.disable_progress_bar()
    model.save_pretrained(into)
    tokenizer.save_pretrained(into)
    (into / "warm_start.json").write_text(json.dumps({"loss": loss.item(), "steps": steps}), encoding="utf-8")
