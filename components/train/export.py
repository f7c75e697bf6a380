"""The policy on disk: Hugging Face format, as vLLM and transformers load it."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from components.contract.config import ModelSection
from components.contract.train_config import LoraSection
from components.train.policy import add_adapters
from components.train.sharding import persistent_buffers

_WEIGHTS = (".safetensors", ".bin", ".index.json")


def export_policy(
    state: Mapping[str, Tensor], incoming: Path, files: Iterable[str], directory: Path, section: ModelSection
) -> None:
    """Write weights and config.json in `model.dtype`, and beside them everything else of the incoming policy.

    Tokenizer files, chat template and generation_config.json are copied byte for byte.

    Args:
        state: full tensors by parameter name, tied ones once.
        files: the incoming policy's files, relative to `incoming`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = getattr(torch, section.dtype)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.from_pretrained(incoming, local_files_only=True), dtype=dtype
        )
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    skeleton.save_pretrained(directory, state_dict=tensors)
    # save_pretrained makes one up where there was none, and engines would take sampling defaults from it.
    (directory / "generation_config.json").unlink(missing_ok=True)
    for name in files:
        if name != "config.json" and not name.endswith(_WEIGHTS):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(incoming / name, directory / name)


def export_adapters(
    state: Mapping[str, Tensor], base: Path, section: LoraSection, name: str, directory: Path
) -> dict[str, Tensor]:
    """Write adapters in peft's format; returns the weights of the base policy with the adapters merged into them.

    Args:
        state: full tensors of the adapters by parameter name.
        base: the base policy, in Hugging Face format; `name` is what the adapters' configuration calls it.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    adapted = add_adapters(model, section, None, seed=0)
    model.load_state_dict(state, strict=False)
    for config in adapted.peft_config.values():
        config.base_model_name_or_path = name
    adapted.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)  # a model card with nothing filled in
    merged = adapted.merge_and_unload()
    return {name: parameter.detach() for name, parameter in merged.named_parameters()} | persistent_buffers(merged)
