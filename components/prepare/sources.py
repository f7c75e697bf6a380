"""Sources of prompts: files, or the generators of reasoning-gym (`data.train: reasoning_gym:<name>`)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.contract.config import RunConfig
from components.contract.digests import bytes_digest, derive_seed, json_digest
from components.contract.errors import InputError
from components.prepare.folders import FORMATS, Chosen, choose_files
from components.store import Store, open_store
from components.store.files import is_directory

PREFIX = "reasoning_gym:"
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class DataFile:
    """A file as it was when the run was prepared."""

    uri: str
    data: bytes

    @property
    def digest(self) -> str:
        return bytes_digest(self.data)


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
        """True if its files may change from run to run."""
        return not self.is_generated and is_selection(self.text)

    @property
    def files(self) -> tuple[DataFile, ...]:
        """Raises InputError where there are none, or one cannot be read."""
        return self._read[0]

    @property
    def remarks(self) -> list[str]:
        """Lines on what was passed over in a folder."""
        return [] if self.is_generated else self._read[1]

    @cached_property
    def _read(self) -> tuple[tuple[DataFile, ...], list[str]]:
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
        """Return its files as JSON values."""
        return [{"file": f.uri, "size": len(f.data), "sha256": f.digest} for f in self.files]


def data_sources(config: RunConfig) -> list[DataSource]:
    """Return the sources in use, training prompts first."""
    data = config.data
    texts = {"data.train": data.train}
    if data.eval is not None and data.eval_prompts:
        texts["data.eval"] = data.eval
    return [DataSource(key, text, generator_seed(config.run.seed, key), data.options) for key, text in texts.items()]


def is_generated(source: str) -> bool:
    """Return whether a data source is a generator and not a file."""
    return source.startswith(PREFIX)


def generator_seed(seed: int, key: str) -> int:
    """Derive a seed from the run's seed and the source's key, so that training and held-out prompts differ."""
    return derive_seed(seed, "generated", key)


def source_digest(source: str, options: dict[str, Any], seed: int) -> str:
    """Return the digest of what generated rows depend on. Raises InputError where reasoning-gym is not installed."""
    library(source)
    return json_digest([source, options, seed, version("reasoning-gym")])


def library(source: str) -> Any:
    """Import the package reasoning-gym. Raises InputError where it is not installed."""
    try:
        import reasoning_gym
    except ImportError as error:
        raise InputError(
            f"{source} needs the package reasoning-gym ({error}); install it with: pip install '.[reasoning-gym]'"
        ) from None
    return reasoning_gym


def is_selection(source: str) -> bool:
    """Return whether a source is a directory or pattern and not one file."""
    return source.endswith("/") or bool(_WILD.search(source)) or ("://" not in source and is_directory(Path(source)))


def read_files(source: str, key: str) -> tuple[tuple[DataFile, ...], list[str]]:
    """Read the files of a source, sorted by name, and return them with lines on what was passed over in a folder.

    Args:
        source: a path, `file:///path` or `s3://bucket/key`. `*`, `?` and `[...]` match inside one name of the path,
            `**` any folders. Empty files that a pattern matches are skipped; `choose_files` says what is read of a
            folder.
        key: configuration key of the source.

    Raises:
        InputError: there is no such file, none matches, or one cannot be read.
    """
    if not is_selection(source):
        folder, _, name = source.rpartition("/")
        store = open_store(folder or ("/" if source.startswith("/") else "."))
        return (DataFile(source, store.read(name)),), []
    folder, pattern = _split(source)
    store = open_store(folder)
    if pattern:
        found = [info.key for info in store.list("") if info.size]
        chosen = Chosen([name for name in found if _matches(name.split("/"), pattern)], [])
    else:
        chosen = choose_files(store, key, source)
    if not chosen.names:
        wanted = "/".join(pattern) or ", ".join(FORMATS)
        raise InputError("; ".join([f"{key}: {source} matches no non-empty file ({wanted})", *chosen.remarks]))
    return tuple(DataFile(_name(store, name), store.read(name)) for name in chosen.names), chosen.remarks


def _split(source: str) -> tuple[str, list[str]]:
    """Split a source into the folder before the first wildcard and patterns for the names after it.

    No patterns stand for every data file.
    """
    scheme, separator, path = source.rpartition("://")
    names = path.split("/")
    wild = next((place for place, name in enumerate(names) if _WILD.search(name)), len(names))
    folder = "/".join(names[:wild])
    if not separator and not folder:
        folder = "/" if path.startswith("/") else "."
    return f"{scheme}{separator}{folder}", [name for name in names[wild:] if name]


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_matches(names[skipped:], pattern[1:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])


def _name(store: Store, key: str) -> str:
    local = store.local_path(key)
    return str(local) if local else store.locate(key)
