"""Finding and judging the base policy, without loading it."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from components.contract.errors import InputError
from components.prepare.policy import inspect_policy, load_tokenizer, locate_policy, stated_licence
from tests.support.rights import without_rights


def refused(directory, message, max_length=64):
    with pytest.raises(InputError, match=message):
        inspect_policy(directory, max_length)


def test_files_of_the_policy_and_no_others(model_directory):
    directory = model_directory()
    for name in ("generation_config.json", "tokenizer_config.json", "merges.txt", "chat_template.jinja"):
        (directory / name).write_text("{}")
    (directory / "checkpoint-5").mkdir()
    for name in ("manifest.json", "optimizer.pt", "README.md", "modeling.py", "checkpoint-5/model.safetensors"):
        (directory / name).write_text("other")
    policy = inspect_policy(directory, 64)
    assert policy.files == (
        "chat_template.jinja", "config.json", "generation_config.json", "merges.txt", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    )  # fmt: skip
    assert (policy.model_type, policy.vocab_size, policy.parameters, policy.dtype) == ("qwen2", 128, 512, "float32")


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n# Model", {"license": "apache-2.0"}),
        (
            "---\nlicense: other\nlicense_name: own\nlicense_link: LICENSE\n---",
            {"license": "other", "license_name": "own", "license_link": "LICENSE"},
        ),
        ("---\nlicense: [mit\n---\n", {}),
        ("---\nlicense: 3\n---\n", {}),
        ("# Model", {}),
        (None, {}),
    ],
)
def test_the_licence_is_what_the_card_states(tmp_path, caplog, card, stated):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert stated_licence(tmp_path) == stated
    assert not caplog.records


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer.model"])
def test_a_checkout_without_its_large_files(model_directory, name):
    directory = model_directory()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 988097824\n"
    (directory / name).write_text(pointer)
    refused(directory, rf"{name} is a Git LFS pointer for 988,097,824 bytes, .*: git lfs pull")


def test_sharded_weights(model_directory):
    from safetensors.numpy import save_file

    directory = model_directory()
    (directory / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"a": np.zeros(3, np.float16)}, directory / "model-1-of-2.safetensors")
    refused(directory, r"lacks model-2-of-2.safetensors, which model.safetensors.index.json names")
    save_file({"b": np.zeros(4, np.float16)}, directory / "model-2-of-2.safetensors")
    policy = inspect_policy(directory, 64)
    assert {"model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"} < set(policy.files)
    assert (policy.parameters, policy.dtype) == (7, "float16")


def test_pickled_weights_are_refused(model_directory):
    directory = model_directory()
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    refused(directory, "save them as safetensors")


def test_an_adapter_alone_is_refused(model_directory):
    directory = model_directory()
    (directory / "model.safetensors").rename(directory / "adapter_model.safetensors")
    (directory / "adapter_config.json").write_text("{}")
    refused(directory, "merge it")


def test_no_weights(model_directory):
    directory = model_directory()
    (directory / "model.safetensors").unlink()
    refused(directory, "there are no weights")


def test_cut_weights(model_directory):
    path = model_directory() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(path.parent, "model.safetensors is damaged")


def test_weights_that_only_their_owner_may_read(model_directory):
    with TemporaryDirectory() as name:
        directory = Path(name)  # pytest's own directories are closed to others
        shutil.copytree(model_directory(), directory, dirs_exist_ok=True)
        directory.chmod(0o755)
        (directory / "model.safetensors").chmod(0o000)
        with without_rights():
            refused(directory, r"cannot read .*/model\.safetensors: Permission denied")


def test_quantised_weights(model_directory):
    from safetensors.numpy import save_file

    directory = model_directory()
    save_file({"a": np.zeros(3, np.int8)}, directory / "model.safetensors")
    refused(directory, "stored as I8; dequantise")


def test_no_tokenizer(model_directory):
    directory = model_directory()
    (directory / "tokenizer.json").unlink()
    refused(directory, "no tokenizer in")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["BertModel"]}, "no causal language model: its config.json names BertModel"),
        ({"architectures": None}, "names no architecture"),
        ({"vocab_size": None}, "has no vocab_size"),
        ({"max_position_embeddings": 63}, "model.max_length is 64, but the model in .* has 63 positions"),
    ],
)
def test_unfit_configuration(model_directory, config, message):
    refused(model_directory(**config), message)


def test_stretched_positions_are_the_engines_affair(model_directory):
    stretched = {"max_position_embeddings": 32, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}
    assert inspect_policy(model_directory(**stretched), 64).vocab_size == 128


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_configuration(model_directory, content):
    directory = model_directory()
    (directory / "config.json").write_text(content)
    refused(directory, "config.json is not")


def test_missing_directories(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for path in ("/no/such/model", "./no", "no/such/model"):
        with pytest.raises(InputError, match=r"missing model directory: .* does not exist; model.path takes"):
            locate_policy(path)
    with pytest.raises(
        InputError,
        match=r"missing model directory: .* and downloading 'owner/no-such-model' from the hub failed",
    ) as e:
        locate_policy("owner/no-such-model")
    assert "\n" not in str(e.value)


def test_tokenizers_that_fit_and_do_not(model_directory, tokenizer):
    from copy import deepcopy

    directory = model_directory()
    inspect_policy(directory, 64).check_tokenizer(tokenizer)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"vocab_size": 3}))
    inspect_policy(directory, 64).check_tokenizer(tokenizer)  # ids beyond the embeddings, until a prompt has one
    (directory / "config.json").write_text(json.dumps(config | {"vocab_size": 2}))
    with pytest.raises(InputError, match="its end-of-sequence token has the id 2, and vocab_size is 2"):
        inspect_policy(directory, 64).check_tokenizer(tokenizer)
    endless = deepcopy(tokenizer)
    endless.eos_token = None
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="no end-of-sequence token"):
        inspect_policy(directory, 64).check_tokenizer(endless)


def test_a_damaged_tokenizer(model_directory):
    directory = model_directory()
    (directory / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"the tokenizer in .* cannot be read: JSONDecodeError"):
        load_tokenizer(directory)
