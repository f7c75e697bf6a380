"""Policies in Hugging Face format: loaded for training, and written for engines and the next iteration."""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from components.contract.config import ModelSection
from components.contract.errors import InputError
from components.contract.train_config import LoraSection, TrainSection
from components.runtime.progress import note
from components.train.group_attention import GROUP_ATTENTION
from components.train.group_probe import groups_unfit

_WEIGHTS = (".safetensors", ".bin", ".index.json")


def load_policy(
    directory: Path, section: TrainSection, device: torch.device, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Load a causal language model with weights in `dtype`, without dropout and without adapters.

    The model takes groups in rows (`GROUP_ATTENTION`) if it computes the same on them.

    Raises:
        InputError: the directory holds no model that transformers can load.
    """
    with _without_sklearn():
        from transformers import AutoConfig, AutoModelForCausalLM
        from transformers.modeling_layers import GradientCheckpointingLayer
        from transformers.utils import logging
    logging.disable_progress_bar()
    try:
        config = _without_dropout(AutoConfig.from_pretrained(directory, local_files_only=True))
        # With no attention named, transformers takes the fastest that the architecture has.
        model: nn.Module = AutoModelForCausalLM.from_pretrained(
            directory, config=config, dtype=dtype, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot load the policy in {directory}: {' '.join(str(error).split())}") from None
    model = model.eval().to(device)
    if unfit := groups_unfit(model):
        note(f"this policy's prompts are computed again for each completion, which is slower: {unfit}")
    if section.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True  # else it is not checkpointed
    return model


def _without_dropout(config: Any) -> Any:
    """Switch dropout off, which would make log pi and every ratio random."""
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        for name, value in vars(part).items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(part, name, 0.0)
    return config


def takes_groups(model: nn.Module) -> bool:
    """Return whether the model takes groups in rows; else its sequences are padded side by side."""
    return model.config._attn_implementation == GROUP_ATTENTION  # type: ignore[union-attr]


def vocabulary(model: nn.Module) -> int:
    """Return the number of token ids that have an embedding."""
    size: int = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    return size


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return the decoder layers, which are sharded and compiled one by one."""
    names = set(model._no_split_modules or ())  # type: ignore[arg-type]
    return [module for module in model.modules() if type(module).__name__ in names]


def compile_layers(model: nn.Module) -> None:
    """Compile every decoder layer with torch.compile, for shapes that vary.

    Raises:
        InputError: there is no C++ compiler, which torch.compile needs on the CPU.
    """
    compiler = os.environ.get("CXX", "g++")
    if next(model.parameters()).device.type == "cpu" and not shutil.which(compiler):
        raise InputError(f"train.compile=true needs a C++ compiler on the CPU, and {compiler} is missing; install one")
    for layer in decoder_layers(model):
        layer.compile(dynamic=True)


def add_adapters(model: nn.Module, section: LoraSection, saved: Path | None, seed: int) -> Any:
    """Add low-rank adapters to a model, in place, and freeze everything else.

    Args:
        saved: adapters of the previous iteration, in peft's format; None for new ones, which change nothing.

    Returns:
        peft's wrapper, which saves and merges them.

    Raises:
        InputError: `targets` names no module of this model, or its embeddings or output layer.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    if saved is not None:
        return PeftModel.from_pretrained(model, saved, is_trainable=True)
    _refuse_embeddings(model, section)
    torch.manual_seed(seed)
    targets = section.targets if isinstance(section.targets, str) else list(section.targets)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=section.rank,
        lora_alpha=section.alpha or 2 * section.rank,  # type: ignore[arg-type]
        target_modules=targets,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise InputError(f"train.lora.targets: {' '.join(str(error).split())[:300]}") from None


def _refuse_embeddings(model: nn.Module, section: LoraSection) -> None:
    """Refuse adapters on embeddings: the loss reads the output layer's weight itself, and tied weights are one tensor.

    Raises:
        InputError: `targets` names an embedding or the output layer.
    """
    if section.targets == "all-linear":
        return  # peft leaves the output layer out
    special = (model.get_input_embeddings(), model.get_output_embeddings())  # type: ignore[operator]
    for name, module in model.named_modules():
        hits = [target for target in section.targets if name == target or name.endswith(f".{target}")]
        if hits and (isinstance(module, nn.Embedding) or any(module is part for part in special)):
            raise InputError(
                f"train.lora.targets: {hits[0]} is an embedding or the output layer, which take no adapters; "
                "leave it out"
            )


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters with gradients by name, tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def full_state(model: nn.Module) -> dict[str, Tensor]:
    """Gather trained parameters and persistent buffers, tied ones once, on the CPU of the first process.

    All processes have to call it; the others get an empty dictionary.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    state = get_model_state_dict(model, options=options)
    once = {name for name, _ in chain(model.named_parameters(), model.named_buffers())}
    return {name: cast(Tensor, tensor) for name, tensor in state.items() if name in once}


def copy_companions(policy: Path, names: Iterable[str], into: Path) -> list[str]:
    """Copy the files of a policy but its weights: config.json, tokenizer, chat template, generation_config.json.

    Args:
        names: the policy's files, relative to its directory.

    Returns:
        Those that were copied.
    """
    companions = [name for name in names if not name.endswith(_WEIGHTS)]
    for name in companions:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(policy / name, into / name)
    return companions


def export_policy(
    state: Mapping[str, Tensor], incoming: Path, companions: Iterable[str], directory: Path, section: ModelSection
) -> None:
    """Write weights and config.json in `model.dtype`, and copy the policy's other files byte for byte.

    Args:
        state: full tensors by parameter name, tied ones once.
        companions: the files beside an earlier policy's weights, in the directory `incoming`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = getattr(torch, section.dtype)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(incoming, local_files_only=True), dtype=dtype
        )
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    with _saving(directory):
        skeleton.save_pretrained(directory, state_dict=tensors)
    # save_pretrained writes one even where there was none, and engines would take sampling defaults from it.
    (directory / "generation_config.json").unlink(missing_ok=True)
    copy_companions(incoming, (name for name in companions if name != "config.json"), directory)


def export_adapters(
    state: Mapping[str, Tensor], base: Path, section: LoraSection, name: str, directory: Path
) -> dict[str, Tensor]:
    """Write adapters in peft's format and return the weights of the base policy with the adapters merged.

    Args:
        state: full tensors of the adapters by parameter name.
        base: the base policy, in Hugging Face format.
        name: the base policy's name in the adapters' configuration.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    adapted = add_adapters(model, section, None, seed=0)
    model.load_state_dict(state, strict=False)
    for config in adapted.peft_config.values():
        config.base_model_name_or_path = name
    with _saving(directory):
        adapted.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)  # a model card with nothing filled in
    merged = adapted.merge_and_unload()
    return full_state(merged.requires_grad_(True))


@contextmanager
def _saving(directory: Path) -> Iterator[None]:
    """Raise InputError where weights cannot be written, as on a full disk."""
    try:
        yield
    except SafetensorError as error:
        raise InputError(f"cannot write {directory}: {error}") from None


@contextmanager
def _without_sklearn() -> Iterator[None]:
    """Keep transformers from importing scikit-learn and SciPy, a quarter of its start-up."""
    hidden = "sklearn" not in sys.modules
    if hidden:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["sklearn"]
