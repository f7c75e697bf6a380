"""The supervised warm start of tiny policies, for the demo and the learning benchmarks."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM

Report = Callable[[int, float], None]
"""Called now and then with (steps done, mean loss in nats per completion token)."""


@dataclass(frozen=True)
class WarmStart:
    """Settings of a supervised training with AdamW and a one-cycle schedule.

    Attributes:
        steps: optimizer steps.
        batch: samples per step.
        learning_rate: peak learning rate.
        seed: seed of the initial weights.
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int = 0


def qwen2(tokenizer: Any, *, width: int, mlp: int, layers: int, heads: int, positions: int) -> "Qwen2ForCausalLM":
    """Return a Qwen2 with random weights and tied embeddings for a tokenizer with `eos` and `pad` tokens."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=mlp,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=positions,
            # Three times the default, with which a policy of this width learns to carry only after 900 steps.
            initializer_range=0.06,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def warm_start(
    untrained: Callable[[], "Qwen2ForCausalLM"],
    tokenizer: Any,
    samples: Iterator[tuple[str, str]],
    recipe: WarmStart,
    path: Path,
    report: Report,
) -> float:
    """Train a policy with cross-entropy on completions and save it with its tokenizer in Hugging Face format.

    Args:
        untrained: makes the policy, after the seed is set.
        samples: endless (prompt, completion) pairs.
        path: directory to replace; it is not there before the training has finished.

    Returns:
        The loss of the last step.
    """
    import torch
    from transformers.utils import logging

    torch.manual_seed(recipe.seed)
    model = untrained()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    for step in range(1, recipe.steps + 1):
        ids, labels = _batch(list(islice(samples, recipe.batch)), tokenizer)
        logits = model(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0 or step == recipe.steps:
            report(step, loss.item())
    shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".warm-start-", dir=path.parent) as scratch:
        logging.disable_progress_bar()
        model.save_pretrained(Path(scratch) / "policy")
        tokenizer.save_pretrained(Path(scratch) / "policy")
        (Path(scratch) / "policy").replace(path)
    return loss.item()


def _batch(samples: list[tuple[str, str]], tokenizer: Any) -> tuple[Any, Any]:
    """Return token IDs and labels [samples, tokens], int64; prompts and padding have the label -100."""
    import torch

    prompts = [tokenizer.encode(prompt) for prompt, _ in samples]
    completions = [[*tokenizer.encode(completion), tokenizer.eos_token_id] for _, completion in samples]
    width = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True))
    ids = torch.full((len(samples), width), tokenizer.pad_token_id)
    labels = torch.full((len(samples), width), -100)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        end = len(prompt) + len(completion)
        ids[row, :end] = torch.tensor(prompt + completion)
        labels[row, len(prompt) : end] = torch.tensor(completion)
    return ids, labels
