"""The interface of stores, checked against each of them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

from components.store import ObjectExists, ObjectMissing, Store, open_store
from components.store.local import LocalStore
from components.store.s3 import S3Store

RACERS = 16
PART = 5 << 20  # the smallest part that S3 takes


@pytest.fixture(params=["local", "moto", pytest.param("rgw", marks=pytest.mark.rgw)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a store, which does not exist yet."""
    if request.param == "local":
        return str(tmp_path / "a place" / "store")
    return f"{request.getfixturevalue(request.param)}/a place/store"


@pytest.fixture
def store(uri: str) -> Store:
    store = open_store(uri)
    if isinstance(store, S3Store):
        store._transfer = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    return store


def test_what_is_written_is_read(store: Store) -> None:
    store.write("a/b", b"\x00first\xff")
    assert store.read("a/b") == b"\x00first\xff"
    assert store.exists("a/b")


def test_overwriting_replaces_the_whole_object(store: Store) -> None:
    store.write("a", b"a longer first version")
    store.write("a", b"short")
    assert store.read("a") == b"short"


def test_missing_object(store: Store, tmp_path: Path) -> None:
    store.write("a/b/c", b"")
    assert not store.exists("a/b/x")
    assert not store.exists("a/b"), "a directory is not an object"
    with pytest.raises(ObjectMissing, match="a/b/x does not exist"):
        store.read("a/b/x")
    with pytest.raises(ObjectMissing, match="a/b/x does not exist"):
        store.download("a/b/x", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_empty_object(store: Store, tmp_path: Path) -> None:
    store.create("empty", b"")
    assert store.read("empty") == b""
    assert [(info.key, info.size) for info in store.list("")] == [("empty", 0)]
    store.download("empty", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


def test_create_refuses_to_replace(store: Store) -> None:
    store.create("a/b", b"first")
    with pytest.raises(ObjectExists, match="a/b"):
        store.create("a/b", b"second")
    assert store.read("a/b") == b"first"
    store.delete("a/b")
    store.create("a/b", b"third")
    assert store.read("a/b") == b"third"


def test_of_sixteen_that_create_at_once_one_wins(store: Store) -> None:
    gate = threading.Barrier(RACERS)
    store.exists("a")  # the connection is set up before the race

    def create(racer: int) -> bool:
        gate.wait()
        try:
            store.create("raced/manifest.json", f"racer {racer}".encode())
        except ObjectExists:
            return False
        # Whoever wins, sees its own object from then on.
        assert store.read("raced/manifest.json") == f"racer {racer}".encode()
        return True

    with ThreadPoolExecutor(RACERS) as pool:
        won = list(pool.map(create, range(RACERS)))
    assert won.count(True) == 1
    assert store.read("raced/manifest.json") == f"racer {won.index(True)}".encode()
    assert [info.key for info in store.list("raced")] == ["raced/manifest.json"]


def test_a_reader_sees_an_old_or_a_new_version_never_a_mixture(store: Store) -> None:
    size, versions = 200_000, 20
    store.write("a", bytes([0]) * size)
    done = threading.Event()

    def overwrite() -> None:
        try:
            for version in range(1, versions + 1):
                store.write("a", bytes([version]) * size)
        finally:
            done.set()

    seen: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(overwrite)
        while not done.is_set():
            data = store.read("a")
            assert len(data) == size
            assert len(set(data)) == 1
            seen.append(data[0])
        writer.result()
    assert seen == sorted(seen), "a later read gave an earlier version"
    assert store.read("a") == bytes([versions]) * size


def test_list_is_sorted_nested_and_stops_at_the_directory(store: Store) -> None:
    for key in ("a/b/2", "a/b/1", "a/b/deep/er/0", "a/bc", "a/b.txt", "ab", "c"):
        store.write(key, key.encode())
    listed = store.list("a/b")
    assert [info.key for info in listed] == ["a/b/1", "a/b/2", "a/b/deep/er/0"]
    assert [info.size for info in listed] == [5, 5, 13]
    assert [info.key for info in store.list("a/b/")] == ["a/b/1", "a/b/2", "a/b/deep/er/0"]
    assert [info.key for info in store.list("")] == sorted(
        ["a/b/2", "a/b/1", "a/b/deep/er/0", "a/bc", "a/b.txt", "ab", "c"]
    )
    assert store.list("nothing/here") == []
    assert store.list("c") == [], "an object is not a directory"


def test_list_goes_beyond_one_page_of_a_thousand(store: Store) -> None:
    keys = [f"many/{index:04d}" for index in range(1_005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.write(key, b"x"), keys))
    assert [info.key for info in store.list("many")] == keys


def test_delete(store: Store) -> None:
    store.write("a/b", b"x")
    store.write("a/c", b"y")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert not store.exists("a/b")
    assert store.read("a/c") == b"y"


@pytest.mark.parametrize("size", [0, 1, PART - 1, 2 * PART + 17])
def test_a_file_of_any_size_goes_there_and_back(store: Store, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(index % 251 for index in range(1_000)) * (size // 1_000 + 1))
    with source.open("r+b") as stream:
        stream.truncate(size)
    store.upload(source, "weights/model.safetensors")
    assert [(info.key, info.size) for info in store.list("weights")] == [("weights/model.safetensors", size)]
    target = tmp_path / "new" / "folder" / "model.safetensors"
    store.download("weights/model.safetensors", target)
    assert target.read_bytes() == source.read_bytes()
    assert store.read("weights/model.safetensors") == source.read_bytes()


def test_upload_and_download_replace(store: Store, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"a longer old one")
    store.write("a", b"a longer old one")
    store.upload(tmp_path / "new", "a")
    store.download("a", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"new"


@pytest.mark.parametrize(
    "key", ["with space/and  two", "ünï/ço∂é/模型 🙂", "a+b&c=d;e@f,g/h%20i#j?k", "tilde~(x)'y'!*"]
)
def test_any_letter_may_stand_in_a_key(store: Store, tmp_path: Path, key: str) -> None:
    store.create(key, b"x")
    assert store.exists(key)
    assert store.read(key) == b"x"
    assert [info.key for info in store.list("")] == [key]
    assert [info.key for info in store.list(key.rsplit("/", 1)[0])] == ([key] if "/" in key else [])
    (tmp_path / "f").write_bytes(b"y")
    store.upload(tmp_path / "f", key)
    store.download(key, tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == b"y"
    with pytest.raises(ObjectExists):
        store.create(key, b"z")
    store.delete(key)
    assert store.list("") == []


def test_local_path(store: Store) -> None:
    store.write("a/b", b"x")
    path = store.local_path("a/b")
    if isinstance(store, LocalStore):
        assert path is not None
        assert path.read_bytes() == b"x"
    else:
        assert path is None


def test_its_uri_opens_the_same_place(store: Store) -> None:
    store.write("a/b", b"x")
    assert open_store(store.uri).read("a/b") == b"x"
    assert store.locate("a/b") == f"{store.uri}/a/b"


def test_two_stores_in_one_bucket_or_directory_do_not_meet(uri: str) -> None:
    one, two = open_store(f"{uri}/one"), open_store(f"{uri}/one-more")
    one.write("a", b"1")
    two.write("a", b"2")
    assert [info.key for info in one.list("")] == ["a"]
    assert one.read("a") == b"1"
    assert [info.key for info in open_store(uri).list("one")] == ["one/a"]


def test_check_writable_leaves_nothing(store: Store) -> None:
    store.check_writable("runs/demo")
    assert store.list("") == []


def test_many_threads_share_a_store(store: Store) -> None:
    def there_and_back(index: int) -> bool:
        store.write(f"t/{index}", str(index).encode())
        return store.read(f"t/{index}") == str(index).encode()

    with ThreadPoolExecutor(RACERS) as pool:
        assert all(pool.map(there_and_back, range(64)))
