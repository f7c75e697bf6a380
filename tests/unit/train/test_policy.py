"""Policies from and to Hugging Face directories."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from components.contract.config import ModelSection
from components.contract.errors import InputError
from components.contract.train_config import LoraSection, TrainSection
from components.train.policy import (
    add_adapters,
    compile_layers,
    export_adapters,
    export_policy,
    full_state,
    load_policy,
    takes_groups,
    trained_parameters,
    vocabulary,
)
from tests.support.tiny_policy import save_tiny_policy, tiny_model

CPU = torch.device("cpu")


def files(directory: Path) -> list[str]:
    return sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())


def load(directory: Path, **settings: object) -> torch.nn.Module:
    return load_policy(directory, TrainSection.model_validate(settings), CPU)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    save_tiny_policy(tmp_path / "in", dtype=dtype)
    (tmp_path / "in" / "generation_config.json").write_text('{"eos_token_id": [1], "own": 3}')
    (tmp_path / "in" / "extra").mkdir()
    (tmp_path / "in" / "extra" / "chat_template.jinja").write_text("x")
    model = load(tmp_path / "in")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not any(module.training for module in model.modules())
    assert vocabulary(model) == 14
    section = ModelSection(path="x", dtype=dtype)
    export_policy(full_state(model), tmp_path / "in", files(tmp_path / "in"), tmp_path / "out", section)
    for name in files(tmp_path / "in"):
        if name not in ("config.json", "model.safetensors"):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes(), name
    saved, original = (load_file(tmp_path / d / "model.safetensors") for d in ("out", "in"))
    assert saved.keys() == original.keys()
    assert "lm_head.weight" not in saved  # tied
    for name, tensor in saved.items():
        assert tensor.dtype == getattr(torch, dtype)
        assert torch.equal(tensor, original[name])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == getattr(torch, dtype)
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("12+3")["input_ids"] == [3, 4, 12, 5]


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("llama", {"tie_word_embeddings": False}), ("gpt2", {}), ("gemma2", {}), ("cohere", {})],
)
def test_other_architectures_survive_the_round_trip(tmp_path: Path, architecture: str, settings: dict) -> None:
    tiny_model(0, architecture, **settings).save_pretrained(tmp_path / "in")
    model = load(tmp_path / "in")
    export_policy(full_state(model), tmp_path / "in", [], tmp_path / "out", ModelSection(path="x", dtype="float32"))
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(again(input_ids=ids).logits, model(input_ids=ids).logits)


def test_sharded_safetensors_load(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    for name, parameter in load(tmp_path).named_parameters():
        assert torch.equal(parameter, dict(model.named_parameters())[name])


def test_no_generation_config_is_made_up(tmp_path: Path) -> None:
    save_tiny_policy(tmp_path / "in")
    (tmp_path / "in" / "generation_config.json").unlink()
    state = full_state(load(tmp_path / "in"))
    export_policy(state, tmp_path / "in", files(tmp_path / "in"), tmp_path / "out", ModelSection(path="x"))
    assert files(tmp_path / "out") == files(tmp_path / "in")


def test_gradient_checkpointing_changes_neither_gradient_nor_dropout(tmp_path: Path) -> None:
    tiny_model(0, attention_dropout=0.5).save_pretrained(tmp_path)
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    gradients = []
    for checkpointing in (False, True):
        model = load(tmp_path, gradient_checkpointing=checkpointing)
        assert any(m.training for m in model.modules()) == checkpointing
        model(input_ids=ids, labels=ids).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot load the policy in"):
        load(tmp_path)


def test_new_adapters_change_nothing_and_are_all_that_is_trained(tmp_path: Path) -> None:
    save_tiny_policy(tmp_path)
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    model = load(tmp_path, lora=4)
    before = model(input_ids=ids).logits
    add_adapters(model, LoraSection(rank=4), None, seed=1)
    torch.testing.assert_close(model(input_ids=ids).logits, before)
    trained = trained_parameters(model)
    assert trained
    assert all("lora_" in name for name in trained)


def test_merged_adapters_are_the_policy_that_was_trained(tmp_path: Path) -> None:
    save_tiny_policy(tmp_path / "base")
    section = LoraSection(rank=4, targets=("q_proj", "down_proj"))
    model = load(tmp_path / "base", lora={"rank": 4})
    add_adapters(model, section, None, seed=1)
    with torch.no_grad():
        for parameter in trained_parameters(model).values():
            parameter.normal_(0, 0.3)
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    merged = export_adapters(full_state(model), tmp_path / "base", section, "hub/name", tmp_path / "adapter")
    settings = ModelSection(path="x", dtype="float32")
    export_policy(merged, tmp_path / "base", [], tmp_path / "out", settings)
    published = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(published(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    configuration = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert configuration["base_model_name_or_path"] == "hub/name"
    # The adapters themselves go on in the next iteration.
    again = load(tmp_path / "base", lora={"rank": 4})
    add_adapters(again, section, tmp_path / "adapter", seed=2)
    torch.testing.assert_close(again(input_ids=ids).logits, model(input_ids=ids).logits)
    assert trained_parameters(again).keys() == trained_parameters(model).keys()


def test_adapter_targets_that_are_not_there_are_refused(tmp_path: Path) -> None:
    save_tiny_policy(tmp_path)
    with pytest.raises(InputError, match=r"train.lora.targets: .*no_such_layer"):
        add_adapters(load(tmp_path, lora=4), LoraSection(rank=4, targets=("no_such_layer",)), None, seed=0)


@pytest.mark.parametrize("targets", [("lm_head",), ("q_proj", "embed_tokens"), ("model.embed_tokens",)])
def test_adapters_on_embeddings_are_refused(tmp_path: Path, targets: tuple[str, ...]) -> None:
    save_tiny_policy(tmp_path)
    with pytest.raises(InputError, match=rf"train.lora.targets: {targets[-1]} is an embedding or the output layer"):
        add_adapters(load(tmp_path, lora=4), LoraSection(rank=4, targets=targets), None, seed=0)


_HEADS = {"qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}


@pytest.mark.parametrize(
    ("architecture", "settings", "fits"),
    [
        ("qwen2", {}, True),
        ("gpt2", {}, True),
        ("gemma2", {"attn_logit_softcapping": None, "sliding_window": 4}, True),
        ("gemma2", {"attn_logit_softcapping": 50.0}, False),
        ("gemma3_text", {"sliding_window": 4, "head_dim": 8, "layer_types": ["full_attention"] * 2}, True),
        ("bloom", {}, False),
        ("qwen2_moe", {"use_sliding_window": True, "sliding_window": 64}, False),
        ("deepseek_v3", {"num_key_value_heads": 4, **_HEADS}, False),
        ("gptj", {"n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 4}, False),
    ],
)
def test_a_model_has_rows_only_where_it_computes_the_same(
    tmp_path: Path, architecture: str, settings: dict, fits: bool
) -> None:
    save_bare(tmp_path, architecture, settings)
    model = load(tmp_path)
    assert takes_groups(model) == fits
    if not fits:
        model(input_ids=torch.tensor([[2, 3, 4]]))


def save_bare(directory: Path, architecture: str, settings: dict) -> None:
    if architecture in ("bloom", "gptj"):
        sizes = {"vocab_size": 14, "hidden_size": 32, "n_layer": 1, "n_head": 4, **settings}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **sizes))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(6.0)  # so that attention matters
        model.save_pretrained(directory)
    else:
        tiny_model(0, architecture, **settings).save_pretrained(directory)


def test_functional_dropout_stays_off_under_checkpointing(tmp_path: Path) -> None:
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "ffn_dim": 32,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 32,
    }
    config = AutoConfig.for_model("opt", vocab_size=14, dropout=0.5, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = load(tmp_path, gradient_checkpointing=True)
    ids = torch.tensor([[2, 3, 4, 5]])
    torch.testing.assert_close(model(input_ids=ids).logits, model(input_ids=ids).logits, atol=0, rtol=0)


def test_compiling_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"train.compile=true needs a C\+\+ compiler on the CPU"):
        compile_layers(tiny_model())
