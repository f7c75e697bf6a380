"""Targets of adapters, found wrong before anything is sampled."""

import numpy as np
import pytest

from components.contract.errors import InputError
from components.contract.train_config import LoraSection
from components.prepare.adapters import check_adapters
from components.prepare.policy import inspect_policy


@pytest.fixture
def base(model_directory):
    """Names and shapes as in models with 128 token ids: tied Qwen2, untied GPT-NeoX."""

    def make(*names):
        from safetensors.numpy import save_file

        directory = model_directory()
        tied = ("model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj")
        rows = {name: 128 if "embed" in name or "head" in name else 8 for name in names or tied}
        tensors = {f"{name}.weight": np.zeros((count, 8), np.float32) for name, count in rows.items()}
        tensors["model.norm.weight"] = np.zeros(8, np.float32)
        save_file(tensors, directory / "model.safetensors")
        return inspect_policy(directory, 64)

    return make


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("lm_head",), "lm_head is an embedding or the output layer"),
        (("q_proj", "embed_tokens"), "embed_tokens is an embedding or the output layer"),
        (("model.embed_tokens",), "model.embed_tokens is an embedding or the output layer"),
        (("q_proj", "v_proj"), "no module of .* ends in v_proj; it has down_proj, q_proj"),
        (("proj",), "no module of .* ends in proj"),
        (("norm",), "no module of .* ends in norm"),
    ],
)
def test_wrong_targets_are_named(base, targets, message):
    with pytest.raises(InputError, match=rf"^train\.lora\.targets: {message}"):
        check_adapters(base(), LoraSection(rank=4, targets=targets))


def test_an_output_layer_of_its_own_is_refused_too(base):
    untied = base("gpt_neox.embed_in", "embed_out_head", "gpt_neox.layers.0.dense")
    check_adapters(untied, LoraSection(rank=4, targets=("dense",)))
    for target in ("embed_out_head", "embed_in"):
        with pytest.raises(InputError, match=f"{target} is an embedding"):
            check_adapters(untied, LoraSection(rank=4, targets=(target,)))


def test_right_targets(base):
    policy = base()
    for section in (None, LoraSection(rank=4), LoraSection(rank=4, targets=("q_proj", "mlp.down_proj"))):
        check_adapters(policy, section)


def test_experts_are_loaded_under_another_name(base):
    policy = base("model.embed_tokens", "model.layers.0.mlp.experts.0.up")
    check_adapters(policy, LoraSection(rank=4, targets=("gate_up",)))
