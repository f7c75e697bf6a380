"""Folders of prompts: saved data sets, checkouts from the hub, and files that are passed over."""

import json

import pytest

from components.contract.errors import InputError
from components.prepare.sources import read_files
from components.store import open_store


@pytest.fixture
def folder(tmp_path):
    """`folder("a.jsonl", ("b.json", content), ...)` makes files and returns their folder."""

    def make(*files):
        store = open_store(str(tmp_path))
        for file in files:
            name, content = (file, "{}") if isinstance(file, str) else file
            store.write(name, content.encode())
        return f"{tmp_path}/"

    return make


def names(folder, key="data.train"):
    files, remarks = read_files(folder, key)
    return [file.uri.removeprefix(folder) for file in files], remarks


def state(*tables):
    return json.dumps({"_data_files": [{"filename": name} for name in tables], "_split": "train"})


SAVED = [
    ("dataset_dict.json", '{"splits": ["train", "test"]}'),
    *(f"{split}/{name}" for split in ("train", "test") for name in ("data-00000-of-00001.arrow", "dataset_info.json")),
    *((f"{split}/state.json", state("data-00000-of-00001.arrow")) for split in ("train", "test")),
    "train/cache-1a2b.arrow",
]
CONFIGS = """---
license: mit
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
- config_name: socratic
  data_files:
  - {split: train, path: socratic/train-*}
---
# Grade school mathematics
"""
CHECKOUT = [
    ".gitattributes",
    ".git/config.json",
    "main/train-00000-of-00001.parquet",
    "main/test-00000-of-00001.parquet",
    "socratic/train-00000-of-00001.parquet",
]
ONE_CONFIG = CONFIGS.partition("- config_name: socratic")[0] + "---\n"


@pytest.mark.parametrize(
    ("files", "train", "held_out"),
    [
        (SAVED, ["train/data-00000-of-00001.arrow"], ["test/data-00000-of-00001.arrow"]),
        (
            [("state.json", state("data-0.arrow", "data-1.arrow")), "data-0.arrow", "data-1.arrow", "cache-9.arrow"],
            ["data-0.arrow", "data-1.arrow"],
            ["data-0.arrow", "data-1.arrow"],
        ),
        ([*CHECKOUT[:4], ("README.md", ONE_CONFIG)], [CHECKOUT[2]], [CHECKOUT[3]]),
        (
            [*CHECKOUT, ("README.md", CONFIGS.replace("main\n", "main\n  default: true\n", 1))],
            [CHECKOUT[2]],
            [CHECKOUT[3]],
        ),
        (
            ["data/train-0.parquet", "data/validation-0.parquet", "README.md"],
            ["data/train-0.parquet"],
            ["data/validation-0.parquet"],
        ),
        (
            ["train.jsonl.gz", "extra.csv", "dev.jsonl.gz", "test.jsonl.gz"],
            ["extra.csv", "train.jsonl.gz"],
            ["test.jsonl.gz"],
        ),
        (["prompts.jsonl", "eval.jsonl"], ["prompts.jsonl"], ["eval.jsonl"]),
        (["test/train-0.csv", "test/test-0.csv"], ["test/train-0.csv"], ["test/test-0.csv"]),
        (
            ["interval.jsonl", "devices.tsv", "latest.jsonl.zst"],
            ["devices.tsv", "interval.jsonl", "latest.jsonl.zst"],
            None,
        ),
        (["test-0.jsonl", "test-1.jsonl"], ["test-0.jsonl", "test-1.jsonl"], ["test-0.jsonl", "test-1.jsonl"]),
        ([("state.json", "{}"), "a.arrow"], ["a.arrow"], None),
        ([("README.md", "---\n[not yaml\n---\n"), "a.jsonl"], ["a.jsonl"], None),
        (
            [("README.md", "---\nconfigs: [{data_files: [a.jsonl, 'b/**']}]\n---\n"), "a.jsonl", "b/c.csv", "d.csv"],
            ["a.jsonl", "b/c.csv"],
            None,
        ),
    ],
)
def test_what_is_read_of_a_folder(folder, files, train, held_out):
    place = folder(*files)
    assert names(place)[0] == train
    assert names(place, "data.eval")[0] == (held_out or train)


def test_what_is_passed_over_is_said(folder):
    place = folder(*SAVED, "README.md", ".git/a", ".git/b", "_SUCCESS", ("empty.jsonl", ""))
    (remark,) = names(place)[1]
    assert remark == "passed over .git/, README.md, _SUCCESS, dataset_dict.json, empty.jsonl and 6 more"
    assert read_files(f"{folder('a.jsonl')}*.jsonl", "data.train")[1] == []


def test_several_data_sets_are_not_mixed(folder):
    place = folder(*CHECKOUT, ("README.md", CONFIGS))
    with pytest.raises(InputError, match=r"holds 2 data sets \(main, socratic\); name the folder of one"):
        names(place)
    assert names(f"{place}socratic/")[0] == ["train-00000-of-00001.parquet"]


def test_no_training_prompts_among_other_splits(folder):
    with pytest.raises(InputError, match=r"holds the splits test, validation, none of which is for data\.train"):
        names(folder("test.csv", "validation.csv"))
    with pytest.raises(InputError, match=r"matches no non-empty file .*; passed over notes\.txt"):
        names(folder("x/notes.txt") + "x/")
