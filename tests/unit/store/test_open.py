"""URIs of stores and of runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.store import Run, open_run, open_store, run_uri, split_run_uri
from components.store.local import LocalStore
from components.store.s3 import S3Store


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("/data/store", "/data/store"),
        ("file:///data/a%20store", "/data/a store"),
        ("file://localhost/data", "/data"),
        ("/data/100%20", "/data/100%20"),
    ],
)
def test_directories(uri: str, place: str) -> None:
    store = open_store(uri)
    assert isinstance(store, LocalStore)
    assert store.root == Path(place)


def test_relative_and_home_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert open_store("runs-here").uri == (tmp_path / "runs-here").as_uri()
    assert open_store("~/runs").uri == "file:///home/somebody/runs"


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://my.bucket-1/a/b/", "my.bucket-1", "a/b"),
        ("S3://bucket/a%20b?c#d", "bucket", "a%20b?c#d"),
    ],
)
def test_buckets(uri: str, bucket: str, prefix: str) -> None:
    store = open_store(uri)
    assert isinstance(store, S3Store)
    assert (store.bucket, store.prefix) == (bucket, prefix)
    assert open_store(store.uri).uri == store.uri


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("gs://bucket/x", r"unknown scheme 'gs'; use a directory, file:/// or s3://"),
        ("file://runs/x", r"write an absolute path \(file:///...\) or a plain directory name"),
        ("s3://Bucket/x", r"'Bucket' is not a bucket name; write s3://bucket/prefix"),
        ("s3:///x", r"'' is not a bucket name"),
    ],
)
def test_what_is_no_store(uri: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        open_store(uri)


@pytest.mark.parametrize("uri", ["s3://AKID:hush@bucket/x", "s3://AKID:hu/hush@bucket/x"])
def test_credentials_in_a_uri_are_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(InputError, match="no credentials in an s3:// URI") as refused:
        open_store(uri)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("uri", ["/data/a store", "s3://bucket", "s3://bucket/a/b"])
def test_a_run_uri_leads_back_to_store_and_run(uri: str) -> None:
    store = open_store(uri)
    opened, layout = split_run_uri(run_uri(store, "demo") + "/")
    assert opened.uri == store.uri
    assert layout.run == "demo"


@pytest.mark.parametrize("uri", ["/data/demo", "s3://bucket", "runs/", "/data/runs/", "demo"])
def test_what_is_no_run(uri: str) -> None:
    with pytest.raises(InputError, match=r"is not a run; write <store>/runs/<name>"):
        split_run_uri(uri)


@pytest.mark.parametrize("name", ["..", ".", "a b", "-x"])
def test_what_is_no_name_of_a_run_is_bad_input(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^run: name must match .* \(got"):
        open_run(f"{tmp_path}/runs/{name}")


def test_open_run_reads_the_stored_configuration(make_run: Callable[..., Run]) -> None:
    run = make_run("train.updates=3", 'rollout.stop=["\\x7f", "\\x85 naïve 🙂"]')
    opened = open_run(run.uri)
    assert opened.config == run.config
    assert opened.config.rollout.stop == ("\x7f", "\x85 naïve 🙂")
    assert opened.uri == run.uri


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"there is no run at {tmp_path}/runs/x: .*/runs/x/config.json does not"):
        open_run(f"{tmp_path}/runs/x")


@pytest.mark.parametrize("stored", [b"", b"\xff\xfe\x00", b"[1]", b'{"run": "x"}', b'{"run": {"nmae": 1}}'])
def test_a_run_whose_configuration_is_damaged(make_run: Callable[..., Run], stored: bytes) -> None:
    run = make_run()
    run.store.write(run.layout.config, stored)
    with pytest.raises(InputError, match=r"config\.json"):
        open_run(run.uri)


def test_rounds_travel_as_text(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert run.round("iteration-0002") == Round.iteration(2)
    assert run.round("final") == Round.evaluation(0), "nothing has been trained yet"
