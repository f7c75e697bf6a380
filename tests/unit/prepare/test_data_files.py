"""Files that a data source stands for."""

from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.prepare.sources import is_selection, read_files
from components.store import open_store

FILES = (
    "2026-01/a.jsonl",
    "2026-01/b.parquet",
    "2026-02/a.jsonl",
    "2026-02/deep/er/c.json",
    "2026-02/notes.txt",
    "2026-02/_SUCCESS.json",
    "2026-02/.hidden/d.jsonl",
    "2026-03/empty.jsonl",
)


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URI of the files, without a slash at the end."""
    uri = str(tmp_path / "data") if request.param == "directory" else f"{request.getfixturevalue('moto')}/data"
    store = open_store(uri)
    for name in FILES:
        store.write(name, b"" if "empty" in name else name.encode())
    return uri


def names(place: str, source: str) -> list[str]:
    files, _ = read_files(source, "data.train")
    assert all(file.data.decode() == file.uri.removeprefix(f"{place}/") for file in files)
    return [file.data.decode() for file in files]


def test_a_directory_holds_every_data_file_below_it(place: str) -> None:
    assert names(place, f"{place}/") == [
        "2026-01/a.jsonl",
        "2026-01/b.parquet",
        "2026-02/a.jsonl",
        "2026-02/deep/er/c.json",
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("2026-0?/a.jsonl", ["2026-01/a.jsonl", "2026-02/a.jsonl"]),
        ("2026-02/*", ["2026-02/_SUCCESS.json", "2026-02/a.jsonl", "2026-02/notes.txt"]),
        ("2026-02/**/*.json", ["2026-02/_SUCCESS.json", "2026-02/deep/er/c.json"]),
        ("**/c.json", ["2026-02/deep/er/c.json"]),
        ("2026-0[13]/*.jsonl", ["2026-01/a.jsonl"]),
    ],
)
def test_a_pattern_matches_whole_names(place: str, pattern: str, expected: list[str]) -> None:
    assert names(place, f"{place}/{pattern}") == expected


def test_one_file_is_itself(place: str) -> None:
    assert names(place, f"{place}/2026-01/a.jsonl") == ["2026-01/a.jsonl"]
    assert not is_selection(f"{place}/2026-01/a.jsonl")


@pytest.mark.parametrize("source", ["none/", "2026-0?/z.jsonl", "2026-03/*"])
def test_nothing_there_is_said(place: str, source: str) -> None:
    with pytest.raises(InputError, match=r"data\.train: .* matches no non-empty file"):
        read_files(f"{place}/{source}", "data.train")


def test_a_missing_file_is_said(place: str) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl does not exist"):
        read_files(f"{place}/none.jsonl", "data.train")


def test_paths_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some/one.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for source in ("some/one.jsonl", "some/*.jsonl", "s*/one.jsonl", "some"):
        assert [file.data for file in read_files(source, "data.train")[0]] == [b"{}"]
    monkeypatch.chdir(tmp_path / "some")
    assert [file.data for file in read_files("one.jsonl", "data.train")[0]] == [b"{}"]
