"""The policy in memory: loaded from the Hugging Face format, with what a configuration adds to it."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from components.contract.errors import InputError
from components.contract.train_config import LoraSection, TrainSection
from components.train.packing import PACKED_ATTENTION, packing_unfit


def load_policy(directory: Path, section: TrainSection, device: torch.device) -> nn.Module:
    """A causal language model with float32 master weights and no dropout, still without adapters.

    Under adapters the frozen weights are kept in `compute_dtype`.

    Raises:
        InputError: the directory holds no model that transformers can load, or `train.packing=on` does not fit it.
    """
    with _without_sklearn():
        from transformers import AutoConfig, AutoModelForCausalLM
        from transformers.modeling_layers import GradientCheckpointingLayer
        from transformers.utils import logging
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    dtype = getattr(torch, section.compute_dtype) if section.lora else torch.float32
    try:
        config = _without_dropout(AutoConfig.from_pretrained(directory, local_files_only=True))
        # Without a word on attention, transformers takes the fastest that the architecture has.
        model: nn.Module = AutoModelForCausalLM.from_pretrained(
            directory, config=config, dtype=dtype, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot load the policy in {directory}: {' '.join(str(error).split())}") from None
    model.eval()
    if wants_packing(section, device):
        _pack(model, section)
    if section.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True  # else it is not checkpointed
    return model.to(device)


def wants_packing(section: TrainSection, device: torch.device) -> bool:
    """Whether sequences are to be packed: where variable-length flash attention runs, unless the configuration says."""
    flash = device.type == "cuda" and section.compute_dtype == "bfloat16"
    return section.packing == "on" or (section.packing == "auto" and flash)


def _pack(model: nn.Module, section: TrainSection) -> None:
    """Switch a model to packed attention, in place, if it computes the same with it.

    Raises:
        InputError: `train.packing=on` with a model whose attention cannot be packed.
    """
    own = model.config._attn_implementation  # type: ignore[union-attr]
    unfit = packing_unfit(model)
    if unfit is None:
        return
    if section.packing == "on":
        raise InputError(f"train.packing=on does not fit this model: {unfit}; use train.packing=off")
    model.set_attn_implementation(own)  # type: ignore[operator]


def _without_dropout(config: Any) -> Any:
    """Dropout would make log pi random and every ratio with it."""
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        for name, value in vars(part).items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(part, name, 0.0)
    return config


def is_packed(model: nn.Module) -> bool:
    """Whether the model takes packed micro-batches."""
    return model.config._attn_implementation == PACKED_ATTENTION  # type: ignore[union-attr]


def vocabulary(model: nn.Module) -> int:
    """Token ids the policy has an embedding for."""
    size: int = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    return size


def layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers, which are sharded and compiled one by one."""
    names = set(model._no_split_modules or ())  # type: ignore[arg-type]
    return [module for module in model.modules() if type(module).__name__ in names]


def compile_layers(model: nn.Module) -> None:
    """torch.compile every decoder layer, for shapes that vary.

    Raises:
        InputError: there is no C++ compiler, which torch.compile needs on the CPU.
    """
    compiler = os.environ.get("CXX", "g++")
    if next(model.parameters()).device.type == "cpu" and not shutil.which(compiler):
        raise InputError(f"train.compile=true needs a C++ compiler on the CPU, and there is no {compiler}; install one")
    for layer in layers(model):
        layer.compile(dynamic=True)


def add_adapters(model: nn.Module, section: LoraSection, saved: Path | None, seed: int) -> Any:
    """Put low-rank adapters into a model, in place, and freeze everything else.

    Args:
        saved: adapters of the iteration before, in peft's format; None to begin with new ones, which change nothing.

    Returns:
        peft's wrapper, which saves and merges them.

    Raises:
        InputError: `targets` names no module of this model.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    if saved is not None:
        return PeftModel.from_pretrained(model, saved, is_trainable=True)
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


@contextmanager
def _without_sklearn() -> Iterator[None]:
    """transformers imports scikit-learn and SciPy where they are installed, a quarter of its start-up."""
    hidden = "sklearn" not in sys.modules
    if hidden:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["sklearn"]
