"""Where prompts come from: files, or the generators of reasoning-gym (`data.train: reasoning_gym:<name>`)."""

from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

from components.contract.config import RunConfig
from components.contract.digests import derive_seed, json_digest
from components.contract.errors import InputError
from components.prepare.data_files import DataFile, is_selection, read_files

PREFIX = "reasoning_gym:"


@dataclass(frozen=True)
class DataSource:
    """One source of prompts. Its files are read once, when they are first asked for, and stay as they were."""

    key: str
    """`data.train` or `data.eval`."""
    text: str
    """Its value."""
    seed: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_generated(self) -> bool:
        return is_generated(self.text)

    @property
    def is_selection(self) -> bool:
        """Whether it may stand for other files tomorrow."""
        return not self.is_generated and is_selection(self.text)

    @cached_property
    def files(self) -> tuple[DataFile, ...]:
        """Raises InputError where there are none, or one cannot be read."""
        return read_files(self.text, self.key)

    @cached_property
    def digest(self) -> str:
        """Digest of what its rows depend on. Raises InputError as `files` does."""
        if self.is_generated:
            return source_digest(self.text, self.options, self.seed)
        if self.is_selection:
            return json_digest([file.digest for file in self.files])
        return self.files[0].digest

    def listing(self) -> list[dict[str, str | int]]:
        """Its files as JSON values."""
        return [{"file": f.uri, "size": len(f.data), "sha256": f.digest} for f in self.files]


def data_sources(config: RunConfig) -> list[DataSource]:
    """Those that are in use: training prompts first."""
    data = config.data
    texts = {"data.train": data.train}
    if data.eval is not None and data.eval_prompts:
        texts["data.eval"] = data.eval
    return [DataSource(key, text, generator_seed(config.run.seed, key), data.options) for key, text in texts.items()]


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
