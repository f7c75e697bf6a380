"""The files of a folder that hold prompts: of plain folders, of `save_to_disk` and of checkouts from the hub.

Training prompts are never read from files whose names say that they are a test or validation split.
"""

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from components.contract.errors import InputError
from components.contract.yaml_text import load_yaml
from components.prepare.contents import COMPRESSED
from components.store import Store

FORMATS = (".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".feather", ".csv", ".tsv")
SUFFIXES = tuple(kind + packed for packed in ("", *COMPRESSED) for kind in FORMATS)
"""Names that are read in a folder; a pattern chooses its own."""

_DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_SPLIT = re.compile(
    r"(?<![a-z])(?:(?P<train>train(?:ing)?)|(?P<validation>validation|valid|val|dev)"
    r"|(?P<test>test(?:ing)?|eval(?:uation)?))(?![a-z])"
)
_WANTED = {"data.train": ("train",), "data.eval": ("test", "validation", "train")}
_SHOWN = 5


@dataclass(frozen=True)
class Chosen:
    """Names of files to read, sorted, and of those that are passed over."""

    names: list[str]
    passed_over: list[str]

    @property
    def remarks(self) -> list[str]:
        """Return what was passed over in one line, if anything was."""
        if not self.passed_over:
            return []
        shown, more = self.passed_over[:_SHOWN], len(self.passed_over) - _SHOWN
        return [f"passed over {', '.join(shown)}" + (f" and {more} more" if more > 0 else "")]


def choose_files(store: Store, key: str, folder: str) -> Chosen:
    """Choose the files of a folder that hold the prompts of `data.train` or `data.eval`.

    1. Names that begin with `.` or `_`, empty files, and formats that are not known are passed over.
    2. Of a folder that `datasets` saved, only the files that its state.json names are read.
    3. Of a checkout whose README.md names several data sets, the default one is read.
    4. Where names tell splits apart, `data.train` is the training split and what has no split in its name, and
       `data.eval` the test split, else the validation split.

    Args:
        folder: its name, for messages.

    Raises:
        InputError: there are several data sets or splits and none to prefer.
    """
    found = {info.key: info.size for info in store.list("")}
    visible = [name for name in found if not any(part.startswith((".", "_")) for part in name.split("/"))]
    data = [name for name in visible if found[name] and _holds_rows(name)]
    data = _of_saved(store, data, set(visible))
    if "README.md" in found:
        data = _of_default(store, data, key, folder)
    data = _of_split(data, key, folder)
    hidden = {_hidden_part(name) for name in found if name not in visible}
    return Chosen(sorted(data), sorted({*hidden, *(name for name in visible if name not in data)}))


def _hidden_part(name: str) -> str:
    """Return the hidden folder of a file, or the file itself where its own name hides it."""
    parts = name.split("/")
    place = next(i for i, part in enumerate(parts) if part.startswith((".", "_")))
    return "/".join(parts[: place + 1]) + ("/" if place + 1 < len(parts) else "")


def _holds_rows(name: str) -> bool:
    path = PurePosixPath(name)
    return name.lower().endswith(SUFFIXES) and path.name not in _DESCRIPTIONS


def _of_saved(store: Store, data: list[str], names: set[str]) -> list[str]:
    """Leave out what lies beside the tables of a saved data set, such as cached results of `map`."""
    kept = []
    tables: dict[PurePosixPath, set[str] | None] = {}
    for name in data:
        folder = PurePosixPath(name).parent
        if folder not in tables:
            state = str(folder / "state.json")
            tables[folder] = _tables_of(store.read(state)) if state in names else None
        wanted = tables[folder]
        if wanted is None or PurePosixPath(name).name in wanted:
            kept.append(name)
    return kept


def _tables_of(state: bytes) -> set[str] | None:
    try:
        return {str(file["filename"]) for file in json.loads(state)["_data_files"]}
    except (ValueError, TypeError, KeyError):
        return None  # another program's state.json


def _of_default(store: Store, data: list[str], key: str, folder: str) -> list[str]:
    """Keep the files of the default data set of a checkout, and of the wanted split where README.md names splits."""
    sets = {name: files for name, files in _data_sets(store.read("README.md"), data).items() if any(files.values())}
    if not sets:
        return data
    if len(sets) > 1 and "default" not in sets:
        every = [name for files in sets.values() for names in files.values() for name in names]
        places = sorted({str(PurePosixPath(name).parent) for name in every})
        raise InputError(
            f"{key}: {folder} holds {len(sets)} data sets ({', '.join(sorted(sets))}); name the folder of one, or a "
            f"pattern; its files are in {', '.join(places)}"
        )
    splits = sets["default"] if "default" in sets else next(iter(sets.values()))
    split = _preferred(set(splits), key, folder)
    return splits[split]


def _data_sets(readme: bytes, data: list[str]) -> dict[str, dict[str, list[str]]]:
    """Return the files by split of each data set that README.md describes; its default is called `default`."""
    parts = re.split(r"(?m)^---\s*$", readme.decode(errors="replace"), maxsplit=2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        described = load_yaml(parts[1], "README.md")
    except InputError:
        return {}
    configs = described.get("configs") if isinstance(described, dict) else None
    sets: dict[str, dict[str, list[str]]] = {}
    for config in configs if isinstance(configs, list) else []:
        if isinstance(config, dict) and "data_files" in config:
            name = "default" if config.get("default") else str(config.get("config_name", "default"))
            sets[name] = _splits(config["data_files"], str(config.get("data_dir", "")), data)
    return sets


def _splits(described: Any, folder: str, data: list[str]) -> dict[str, list[str]]:
    """Return the files of each split: from one pattern, a list of them, or a list of splits with patterns."""
    entries = described if isinstance(described, list) else [described]
    splits: dict[str, list[str]] = {}
    for entry in entries:
        split, patterns = ("train", entry)
        if isinstance(entry, dict):
            split, patterns = str(entry.get("split", "train")), entry.get("path")
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            whole = str(PurePosixPath(folder) / str(pattern))
            splits.setdefault(_kind(split) or split, []).extend(name for name in data if fnmatchcase(name, whole))
    return {split: files for split, files in splits.items() if files}


def _of_split(data: list[str], key: str, folder: str) -> list[str]:
    kinds = {name: _kind(name) or "train" for name in data}
    if len(set(kinds.values())) < 2:
        return data
    wanted = _preferred(set(kinds.values()), key, folder)
    return [name for name in data if kinds[name] == wanted]


def _preferred(splits: set[str], key: str, folder: str) -> str:
    found = next((split for split in _WANTED[key] if split in splits), None)
    if found is None and len(splits) == 1:
        (found,) = splits
    if found is None:
        raise InputError(
            f"{key}: {folder} holds the splits {', '.join(sorted(splits))}, none of which is for {key}; give a pattern"
        )
    return found


def _kind(name: str) -> str | None:
    """Return the split that a path names: its last part that names one, as in `test/train-0.parquet`, decides."""
    for part in reversed(name.lower().split("/")):
        if found := _SPLIT.search(part):
            return found.lastgroup
    return None
