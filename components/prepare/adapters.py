"""The fit of adapters to the base policy, by the names of its tensors: before the rollout, and without PyTorch."""

from components.contract.errors import InputError
from components.contract.train_config import LoraSection
from components.prepare.policy import BasePolicy

_HEADS = ("lm_head", "embed_out")
"""Output layers that are not stored where they share the weights of the embedding."""


def check_adapters(base: BasePolicy, lora: LoraSection | None) -> None:
    """Check the modules that `train.lora.targets` names.

    Raises:
        InputError: one does not exist, or is an embedding or the output layer, whose adapters training does not use.
    """
    if lora is None or lora.targets == "all-linear":
        return
    for target in lora.targets:
        found = [name for name in base.matrices if name == target or name.endswith(f".{target}")]
        if target in _HEADS or any(base.matrices[name][0] >= base.vocab_size for name in found):
            raise InputError(
                f"train.lora.targets: {target} is an embedding or the output layer of {base.directory}, which take no "
                "adapters; leave it out"
            )
        # Experts are stored one by one and loaded as one module of another name.
        if not found and not any(".experts." in name for name in base.matrices):
            linear = {name.rpartition(".")[2] for name, shape in base.matrices.items() if shape[0] < base.vocab_size}
            raise InputError(
                f"train.lora.targets: no module of {base.directory} ends in {target}; "
                f"it has {', '.join(sorted(linear))}"
            )
