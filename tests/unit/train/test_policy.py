"""Policies from and to Hugging Face directories."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_policy import save_tiny_policy, tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.contract.config import ModelSection
from components.contract.errors import InputError
from components.train.policy import load_master, load_policy, save_master, save_policy, vocabulary

CPU = torch.device("cpu")


def files(directory: Path) -> list[str]:
    return sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    save_tiny_policy(tmp_path / "in", dtype=dtype)
    (tmp_path / "in" / "generation_config.json").write_text('{"eos_token_id": [1], "own": 3}')
    (tmp_path / "in" / "extra").mkdir()
    (tmp_path / "in" / "extra" / "chat_template.jinja").write_text("x")
    model = load_policy(tmp_path / "in", False, CPU)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not any(module.training for module in model.modules())
    assert vocabulary(model) == 14
    save_policy(model, tmp_path / "in", files(tmp_path / "in"), tmp_path / "out", ModelSection(path="x", dtype=dtype))
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


def test_no_generation_config_is_made_up(tmp_path: Path) -> None:
    save_tiny_policy(tmp_path / "in")
    (tmp_path / "in" / "generation_config.json").unlink()
    model = load_policy(tmp_path / "in", False, CPU)
    save_policy(model, tmp_path / "in", files(tmp_path / "in"), tmp_path / "out", ModelSection(path="x"))
    assert files(tmp_path / "out") == files(tmp_path / "in")


def test_master_weights_keep_what_bf16_rounds_away(tmp_path: Path) -> None:
    model = tiny_model()
    before = [p.detach().clone() for p in model.parameters()]
    save_master(tmp_path, model)
    model.to(torch.bfloat16).to(torch.float32)
    assert any(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    load_master(tmp_path, model)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_gradient_checkpointing_changes_neither_gradient_nor_dropout(tmp_path: Path) -> None:
    tiny_model(0, attention_dropout=0.5).save_pretrained(tmp_path)
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    gradients = []
    for checkpointing in (False, True):
        model = load_policy(tmp_path, checkpointing, CPU)
        assert any(m.training for m in model.modules()) == checkpointing
        model(input_ids=ids, labels=ids).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot load the policy in"):
        load_policy(tmp_path, False, CPU)
