"""A model directory made without torch."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture
def model_directory(tmp_path: Path) -> Callable[..., Path]:
    """`model_directory(vocab_size=128, ...)`: configuration with these changes, one small tensor, no tokenizer."""

    def make(**config: object) -> Path:
        from safetensors.numpy import save_file

        directory = tmp_path / "model"
        directory.mkdir()
        whole = {
            "model_type": "qwen2",
            "architectures": ["Qwen2ForCausalLM"],
            "vocab_size": 128,
            "max_position_embeddings": 64,
            **config,
        }
        (directory / "config.json").write_text(json.dumps(whole))
        save_file({"embed": np.zeros((128, 4), np.float32)}, directory / "model.safetensors")
        (directory / "tokenizer.json").write_text("{}")
        return directory

    return make


@pytest.fixture(scope="session")
def tokenizer():
    """One token per printable ASCII character; `<bos>` goes before text unless special tokens are left out."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<unk>": 0, "<bos>": 1, "<eos>": 2, **{chr(32 + i): 3 + i for i in range(95)}}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


@pytest.fixture
def chat_tokenizer(tokenizer):
    from copy import deepcopy

    chat = deepcopy(tokenizer)
    chat.chat_template = CHAT_TEMPLATE
    return chat
