"""The demo's base policy: a Qwen2 of 0.75 million parameters, taught addition from answers of which half are wrong."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.demo.arithmetic import noisy_answers, tokenizer
from pipelines.demo.warm_start import Report, WarmStart, qwen2, warm_start

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM

RECIPE = WarmStart(steps=450, batch=128, learning_rate=2e-3)
WRONG_SHARE = 0.5


def untrained_policy() -> "Qwen2ForCausalLM":
    """Return the demo's architecture with random weights: 3 layers, width 128, one token per character."""
    return qwen2(tokenizer(), width=128, mlp=512, layers=3, heads=4, positions=64)


def make_base_policy(pairs: list[tuple[str, str]], path: Path, report: Report) -> None:
    """Make the base policy from the (prompt, answer) pairs of the training prompts."""
    samples = noisy_answers(pairs, WRONG_SHARE, RECIPE.seed)
    warm_start(untrained_policy, tokenizer(), samples, RECIPE, path, report)
