"""TRL's GRPOTrainer on stored trajectories.

The trainer's `rollout_func` returns the stored completions; everything else is TRL's. The loss is that of our `grpo`
objective: advantages (R - mean) / (std + 1e-4) of the group, mean over a sequence's tokens, then over sequences.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.training.memory import Meter
from benchmarks.training.workload import Stored, read

SETTINGS: dict[str, Any] = {
    "loss_type": "grpo",
    "beta": 0.0,
    "num_iterations": 1,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 4,
    "gradient_checkpointing": False,
    "bf16": False,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 1.0,
    "optim": "adamw_torch_fused",
}
"""TRL's fastest correct settings: with one generation per optimizer step it uses the current log-probabilities as those
of the behaviour policy, and without a KL term it has no reference model. Gradient checkpointing, its default, saves
memory and costs time.
"""


def measure(directory: Path, steps: int, device: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Take the warm-up steps of one generation and `steps` timed ones; return the same as `ours.measure`.

    A step lasts from its first micro-batch to the end of the optimizer step. With `steps_per_generation` above
    `gradient_accumulation_steps` one call of the rollout function serves several steps: `steps` must be a multiple of
    their number, and each counts as the mean of its generation.
    """
    os.environ |= {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    import torch
    from datasets import Dataset
    from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    stored = read(directory)
    chosen = {**SETTINGS, **settings}
    accumulation = chosen["gradient_accumulation_steps"]
    updates = chosen.get("steps_per_generation", accumulation) // accumulation
    groups = len(stored.prompt_ids)

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if device != "cpu":
                torch.cuda.synchronize()
            self.seconds.append(time.perf_counter() - self.began)

    clock = Clock()
    meter = Meter(device)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa"),
            reward_funcs=lambda stored_reward, **_: stored_reward,
            args=GRPOConfig(
                output_dir=scratch,
                max_steps=updates + steps,
                num_generations=stored.group_size,
                max_completion_length=int(stored.lengths.max()),
                use_cpu=device == "cpu",
                report_to="none",
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
                **chosen,
            ),
            train_dataset=Dataset.from_dict({"prompt": [str(row % groups) for row in range(updates * groups)]}),
            processing_class=_tokenizer(AutoConfig.from_pretrained(directory).vocab_size),
            rollout_func=lambda prompts, _: rollout(stored, [int(prompt) for prompt in prompts]),
            callbacks=[clock],
        )
        trainer.train()
    first = next(entry for entry in trainer.state.log_history if "grad_norm" in entry)
    return {
        "seconds": [sum(clock.seconds[i : i + updates]) / updates for i in range(updates, updates + steps, updates)],
        "warm_up_seconds": clock.seconds[0],
        "loss": first["loss"],
        "gradient_norm": float(first["grad_norm"]),
        "completion_tokens": int(stored.lengths.sum()),
        "memory_before": meter.before,
        "memory_peak": meter.peak(),
        "settings": chosen,
    }


def rollout(stored: Stored, groups: list[int]) -> dict[str, list[Any]]:
    """Return stored completions as a `rollout_func` does, one for each entry of `groups`.

    A group with more entries than completions returns them again from the first.
    """
    completions = stored.completions()
    taken = [0] * len(stored.prompt_ids)
    rows = []
    for group in groups:
        rows.append(group * stored.group_size + taken[group] % stored.group_size)
        taken[group] += 1
    return {
        "prompt_ids": [stored.prompt_ids[group].tolist() for group in groups],
        "completion_ids": [completions[row].tolist() for row in rows],
        "logprobs": None,
        "stored_reward": [float(stored.rewards[row]) for row in rows],
    }


def _tokenizer(vocabulary: int) -> Any:
    """Build a tokenizer with one word per token id, because TRL decodes completions before it scores them."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="w0", eos_token="w1")
