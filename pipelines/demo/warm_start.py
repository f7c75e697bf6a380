"""The demo's base policy: a 0.75-million-parameter Qwen2 taught addition from answers of which half are wrong."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.demo.arithmetic import noisy_answers, tokenizer

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM

STEPS = 450
BATCH = 128
WRONG_SHARE = 0.5
LEARNING_RATE = 2e-3


def untrained_policy() -> "Qwen2ForCausalLM":
    """The demo's architecture with random weights: 3 layers, width 128, one token per character."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    characters = tokenizer()
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(characters),
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            # Three times the default: at this width the default learns to carry only after 900 steps.
            initializer_range=0.06,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=characters.eos_token_id,
            pad_token_id=characters.pad_token_id,
        )
    )


def warm_start(pairs: list[tuple[str, str]], into: Path, seed: int, report: Callable[[int, float], None]) -> None:
    """Train the policy with cross-entropy on completions and save it in Hugging Face format.

    Args:
        pairs: (prompt, right answer) of the training prompts.
        into: directory, made if missing.
        seed: of the initial weights and of the samples.
        report: called with (steps done, mean loss in nats per completion token) now and then.
    """
    import torch
    from transformers.utils import logging

    torch.manual_seed(seed)
    characters = tokenizer()
    model = untrained_policy()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    samples = noisy_answers(pairs, WRONG_SHARE, seed)
    for step in range(1, STEPS + 1):
        batch = list(islice(samples, BATCH))
        rows = [[*characters.encode(prompt + answer), characters.eos_token_id] for prompt, answer in batch]
        width = max(map(len, rows))
        ids = torch.tensor([row + [characters.pad_token_id] * (width - len(row)) for row in rows])
        labels = torch.where(ids == characters.pad_token_id, -100, ids)
        prompt_width = len(batch[0][0])
        labels[:, :prompt_width] = -100
        logits = model(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            report(step, loss.item())
    logging.disable_progress_bar()
    model.save_pretrained(into)
    characters.save_pretrained(into)
