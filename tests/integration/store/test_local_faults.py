"""Faults of a local file system end in one clear line."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.store import ObjectMissing, Store
from components.store.local import LocalStore
from tests.support.rights import without_rights


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[LocalStore]:
    """A store with one object, whose directory only its owner may read and nobody may write."""
    store = LocalStore(tmp_path / "store")
    store.write("a", b"x")
    store.root.chmod(0o000)
    yield store
    store.root.chmod(0o755)


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.read("a"),
        lambda store: store.exists("a"),
        lambda store: store.list(""),
        lambda store: store.download("a", Path("never-written")),
    ],
)
def test_no_right_to_read(locked: LocalStore, use: Callable[[Store], object]) -> None:
    with without_rights(), pytest.raises(InputError, match=r"cannot read .*store.*: Permission denied"):
        use(locked)


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.write("a", b"y"),
        lambda store: store.write("new/folder/a", b"y"),
        lambda store: store.create("b", b"y"),
        lambda store: store.upload(Path(__file__), "b"),
        lambda store: store.delete("a"),
        lambda store: store.check_writable("runs"),
    ],
)
def test_no_right_to_write(locked: LocalStore, use: Callable[[Store], object]) -> None:
    with without_rights(), pytest.raises(InputError, match=r"cannot write .*store/.*: Permission denied"):
        use(locked)
    locked.root.chmod(0o755)
    assert locked.read("a") == b"x"
    assert [path.name for path in locked.root.iterdir()] == ["a"]


def test_a_place_that_cannot_be_made() -> None:
    with pytest.raises(InputError, match=r"cannot write /proc/no-such/runs/a: .*\(/proc/no-such\)"):
        LocalStore(Path("/proc/no-such")).write("runs/a", b"x")
    with pytest.raises(ObjectMissing, match="/proc/no-such/runs/a does not exist"):
        LocalStore(Path("/proc/no-such")).read("runs/a")


def test_a_file_where_a_directory_must_be(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("I am a file")
    store = LocalStore(tmp_path / "store")
    with pytest.raises(InputError, match=rf"cannot write {store.root}/runs/a: File exists \({store.root}\)"):
        store.write("runs/a", b"x")
    with pytest.raises(InputError, match=f"cannot read {store.root}/runs/a: Not a directory"):
        store.read("runs/a")
    assert store.list("runs") == []
    assert not store.exists("runs/a")


def test_a_directory_where_a_file_must_be(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("a/b", b"x")
    with pytest.raises(InputError, match=r"cannot read .*/a: Is a directory"):
        store.read("a")
    with pytest.raises(InputError, match=r"cannot write .*/a: Is a directory"):
        store.write("a", b"y")
    with pytest.raises(InputError, match=r"cannot write .*/a: Is a directory"):
        store.delete("a")
    assert store.read("a/b") == b"x"
    assert [info.key for info in store.list("")] == ["a/b"]


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        LocalStore(tmp_path).write("n" * 300, b"x")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_loses_nothing_that_was_written(tiny_disk: Path, tmp_path: Path) -> None:
    store = LocalStore(tiny_disk / "store")
    store.write("a", b"first")
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    uses: list[Callable[[], None]] = [
        lambda: store.write("a", bytes(1 << 20)),
        lambda: store.create("b", bytes(1 << 20)),
        lambda: store.upload(tmp_path / "large", "a"),
    ]
    for use in uses:
        with pytest.raises(InputError, match=r"cannot write .*/store/[ab]: No space left on device; .*make room"):
            use()
    assert store.read("a") == b"first"
    assert [path.name for path in store.root.iterdir()] == ["a"], "half-written files take room"
    store.write("b", b"fits")


def test_a_download_onto_a_full_disk_names_the_disk(tiny_disk: Path, tmp_path: Path, moto: str) -> None:
    from components.store import open_store

    for store in (LocalStore(tmp_path / "store"), open_store(moto)):
        store.write("large", bytes(1 << 20))
        with pytest.raises(InputError, match=rf"cannot write {tiny_disk}/copy: No space left on device"):
            store.download("large", tiny_disk / "copy")


def test_a_disk_that_fills_up_on_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.write("a", b"first")

    def full(_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*/a: Disk quota exceeded; .*make room"):
        store.write("a", b"second")
    assert store.read("a") == b"first"


def test_what_a_killed_writer_left_is_no_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("runs/a", b"x")
    (tmp_path / "runs" / ".tmp-left").write_bytes(b"half of it")
    assert [info.key for info in store.list("runs")] == ["runs/a"]


def test_files_that_vanish_while_listing_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.write("runs/a", b"x")
    store.write("runs/b", b"x")
    walk = os.walk

    def walk_then_delete(top: str, onerror: Callable[[OSError], None]) -> Iterator[object]:
        for found in list(walk(top, onerror=onerror)):
            store.delete("runs/a")
            yield found

    monkeypatch.setattr(os, "walk", walk_then_delete)
    assert [info.key for info in store.list("runs")] == ["runs/b"]


def test_a_place_that_cannot_be_written_is_seen_without_writing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    store.check_reachable("runs/demo")
    assert not (tmp_path / "store").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*/file/runs/demo: .*/file is not a directory"):
        LocalStore(tmp_path / "file").check_reachable("runs/demo")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"link is not a directory"):
        LocalStore(tmp_path / "link").check_reachable("runs/demo")
    tmp_path.chmod(0o555)
    with without_rights(), pytest.raises(InputError, match=r"cannot write .*/store/runs/demo: .* is not writable"):
        store.check_reachable("runs/demo")
