"""Where prompts come from: files, or the generators of reasoning-gym (`data.train: reasoning_gym:<name>`)."""

from importlib.metadata import version
from typing import Any

from components.contract.digests import derive_seed, json_digest
from components.contract.errors import InputError

PREFIX = "reasoning_gym:"


def is_generated(source: str) -> bool:
    """Whether a data source is a generator rather than a file."""
    return source.startswith(PREFIX)


def generator_seed(seed: int, key: str) -> int:
    """From the run's seed and the source's configuration key: training and held-out prompts differ."""
    return derive_seed(seed, "generated", key)


def source_digest(source: str, options: dict[str, Any], seed: int) -> str:
    """Digest of what generated rows depend on. Raises InputError where reasoning-gym is not installed."""
    library(source)
    return json_digest([source, options, seed, version("reasoning-gym")])


def library(source: str) -> Any:
    """The package reasoning-gym. Raises InputError where it is not installed."""
    try:
        import reasoning_gym
    except ImportError as error:
        raise InputError(
            f"{source} needs the package reasoning-gym ({error}); install it with: "
            "pip install 'rapid-rl[reasoning-gym]'"
        ) from None
    return reasoning_gym
