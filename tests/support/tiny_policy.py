"""A tiny causal language model with a character tokenizer, and completions scored by a plain forward pass."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

CHARACTERS = list("0123456789+=")
SPECIAL = ["<pad>", "<eos>"]
VOCABULARY = len(CHARACTERS) + len(SPECIAL)
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def tiny_model(seed: int = 0, architecture: str = "qwen2", **settings: Any) -> Any:
    """Return a float32 model in evaluation mode whose distributions are far from uniform."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
    }
    if architecture == "gpt2":
        sizes = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    else:
        sizes["tie_word_embeddings"] = True
    if architecture == "gemma2":
        sizes["head_dim"] = 8
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, **{**sizes, **settings})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(6.0)
    return model


def save_tiny_policy(directory: Path, seed: int = 0, dtype: str = "float32") -> None:
    """Save model, tokenizer, chat template and generation configuration in Hugging Face format."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(SPECIAL + CHARACTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    wrapped.chat_template = CHAT_TEMPLATE
    tiny_model(seed).to(getattr(torch, dtype)).save_pretrained(directory)
    wrapped.save_pretrained(directory)


@torch.no_grad()
def plain_logprobs(model: Any, prompt: list[int], completion: list[int], temperature: float = 1.0) -> np.ndarray:
    """Return log pi of the completion's tokens, from the full float32 logits of one unpadded sequence."""
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0].float() / temperature
    predicting = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return predicting.gather(1, torch.tensor(completion)[:, None])[:, 0].numpy()


def random_completions(
    seed: int, groups: int, group_size: int, longest: int = 7
) -> list[tuple[list[int], list[list[int]]]]:
    """Return (prompt, completions) of each group, with random tokens and lengths."""
    rng = np.random.default_rng(seed)

    def tokens(low: int, high: int) -> list[int]:
        return rng.integers(1, VOCABULARY, int(rng.integers(low, high + 1))).tolist()

    return [(tokens(2, 6), [tokens(1, longest) for _ in range(group_size)]) for _ in range(groups)]
