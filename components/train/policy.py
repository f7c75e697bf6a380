"""The policy: loaded from and saved to the Hugging Face format."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from components.contract.config import ModelSection
from components.contract.errors import InputError

_MASTER = "master.safetensors"
_WEIGHTS = (".safetensors", ".bin", ".index.json")


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_policy(directory: Path, gradient_checkpointing: bool, device: torch.device) -> nn.Module:
    """A causal language model with float32 master weights and no dropout.

    Raises:
        InputError: the directory holds no model that transformers can load.
    """
    with _without_sklearn():
        from transformers import AutoModelForCausalLM
        from transformers.modeling_layers import GradientCheckpointingLayer
        from transformers.utils import logging
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model: nn.Module = AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot load the policy in {directory}: {' '.join(str(error).split())}") from None
    # Dropout would make log pi random and every ratio with it.
    model.eval()
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True  # the layer alone: its parts, dropout among them, stay in evaluation
    return model.to(device)


def vocabulary(model: nn.Module) -> int:
    """Token ids the policy has an embedding for."""
    size: int = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    return size


def save_policy(model: nn.Module, incoming: Path, files: Iterable[str], directory: Path, section: ModelSection) -> None:
    """Write weights and config.json in `model.dtype`, and beside them everything else of the incoming policy.

    Tokenizer files, chat template and generation_config.json are copied byte for byte. The model is cast in
    place (tied weights stay tied): save master weights first and use it no more.

    Args:
        files: the incoming policy's files, relative to `incoming`.
    """
    model.to(getattr(torch, section.dtype))
    model.save_pretrained(directory)  # type: ignore[operator]
    # save_pretrained makes one up where there was none, and engines would take sampling defaults from it.
    (directory / "generation_config.json").unlink(missing_ok=True)
    for name in files:
        if name != "config.json" and not name.endswith(_WEIGHTS):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(incoming / name, directory / name)


def save_master(directory: Path, model: nn.Module) -> None:
    """Write the float32 weights, which a policy published in fewer bits does not hold."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}, directory / _MASTER)


def load_master(directory: Path, model: nn.Module) -> None:
    """Put the float32 weights back, where an earlier iteration left some."""
    if not (directory / _MASTER).is_file():
        return
    tensors = load_file(directory / _MASTER)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])


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
