"""Faults of object storage are retried where that helps, and else end in one clear line."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from moto.core import set_initial_no_auth_action_count

from benchmarks.faults import s3_proxy
from benchmarks.faults.s3_proxy import Fault, FaultyProxy
from components.contract.errors import InputError
from components.store import ObjectExists, ObjectMissing, Store, StoreUnavailable, open_store
from components.store.patient import PatientStore
from components.store.s3 import S3Store
from tests.support.loopback import loopback

SECRET = "wJalrXUtnFEMI-K7MDENG-secret"

USES: list[Callable[[Store], object]] = [
    lambda store: store.read("a"),
    lambda store: store.write("a", b"x"),
    lambda store: store.create("a", b"x"),
    lambda store: store.exists("a"),
    lambda store: store.list("a"),
    lambda store: store.delete("a"),
    lambda store: store.upload(Path(__file__), "a"),
    lambda store: store.download("a", Path("never-written")),
    lambda store: store.check_writable("runs"),
]
ALL_USES = pytest.mark.parametrize(
    "use", USES, ids=["read", "write", "create", "exists", "list", "delete", "upload", "download", "check_writable"]
)


class ScriptedProxy(FaultyProxy):
    """A proxy whose `script` names the faults of the next requests of each method."""

    def __init__(self, server: str) -> None:
        self.script: dict[str, deque[Any]] = {}
        super().__init__(server, lambda method, *_: self._next(method))

    def plan(self, method: str, *faults: str) -> None:
        self.script[method] = deque(faults)

    def _next(self, method: str) -> Fault | None:
        steps = self.script.get(method)
        return steps.popleft() if steps else None


@pytest.fixture
def proxy(moto_server: dict[str, str]) -> Iterator[ScriptedProxy]:
    proxy = ScriptedProxy(moto_server["AWS_ENDPOINT_URL"])
    yield proxy
    proxy.close()


@pytest.fixture
def store(proxy: ScriptedProxy, moto: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store behind the proxy, connected, that waits for nothing between its retries."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    store = open_store(f"{moto}/p")
    store.exists("a")
    proxy.seen.clear()
    return store


def test_throttling_is_retried(proxy: ScriptedProxy, store: Store, tmp_path: Path) -> None:
    for method in ("PUT", "GET", "HEAD", "DELETE"):
        proxy.plan(method, "refuse", "refuse")
    store.write("a", b"x")
    assert store.read("a") == b"x"
    assert store.exists("a")
    (tmp_path / "f").write_bytes(b"file")
    proxy.plan("PUT", "refuse", "drop", "fail")
    proxy.plan("GET", "refuse", "drop")
    store.upload(tmp_path / "f", "a")
    store.download("a", tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == b"file"
    store.delete("a")
    assert store.list("") == []
    assert proxy.seen.count("PUT") == 3 + 4
    assert proxy.seen.count("DELETE") == 3


def test_throttling_that_does_not_end(proxy: ScriptedProxy, store: Store) -> None:
    proxy.plan("GET", *["refuse"] * 50)
    with pytest.raises(InputError, match=rf"{proxy.url} answered SlowDown to GetObject on s3://.*/p/a$"):
        store.read("a")
    assert proxy.seen.count("GET") == 8


def test_a_connection_that_breaks_is_retried(proxy: ScriptedProxy, store: Store) -> None:
    proxy.plan("PUT", "drop", "lose")
    store.write("a", b"x" * 100_000)
    proxy.plan("GET", "drop", "cut", "cut")
    assert store.read("a") == b"x" * 100_000
    assert proxy.seen == ["PUT"] * 3 + ["GET"] * 4


def test_a_body_that_always_breaks_off(proxy: ScriptedProxy, store: Store) -> None:
    store.write("a", b"x" * 100_000)
    proxy.plan("GET", *["cut"] * 50)
    with pytest.raises(InputError, match=r"^s3://.*/p/a: "):
        store.read("a")
    assert proxy.seen.count("GET") == 5


def test_a_body_that_arrives_damaged_is_sent_again(proxy: ScriptedProxy, store: Store, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100_000)
    for put in (
        lambda: store.write("a", b"x" * 100_000),
        lambda: store.create("b", b"x" * 100_000),
        lambda: store.upload(tmp_path / "f", "c"),
    ):
        proxy.plan("PUT", "damage", "damage")
        put()
    for key in ("a", "b", "c"):
        proxy.plan("GET", "corrupt", "corrupt")
        assert store.read(key) == b"x" * 100_000
        proxy.plan("GET", "corrupt", "corrupt")
        store.download(key, tmp_path / "g")
        assert (tmp_path / "g").read_bytes() == b"x" * 100_000


def test_a_body_that_always_arrives_damaged(proxy: ScriptedProxy, store: Store, tmp_path: Path) -> None:
    store.write("a", b"x")
    proxy.plan("GET", *["corrupt"] * 50)
    for get in (lambda: store.read("a"), lambda: store.download("a", tmp_path / "g")):
        with pytest.raises(StoreUnavailable, match=r"^s3://.*/p/a: .*checksum"):
            get()
    proxy.plan("PUT", *["damage"] * 50)
    with pytest.raises(StoreUnavailable, match=r"answered BadDigest to PutObject on s3://.*/p/b$"):
        store.upload(Path(__file__), "b")


def test_a_write_that_overlaps_another_is_made_again(proxy: ScriptedProxy, store: Store, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"file")
    for write in (lambda: store.write("a", b"x"), lambda: store.upload(tmp_path / "f", "b")):
        proxy.seen.clear()
        proxy.plan("PUT", "conflict", "conflict")
        write()
        assert proxy.seen.count("PUT") == 3
    assert (store.read("a"), store.read("b")) == (b"x", b"file")


@pytest.mark.parametrize(
    "write", [lambda store: store.write("a", b"x"), lambda store: store.create("a", b"x")], ids=["write", "create"]
)
def test_writes_that_always_overlap_are_waited_for(
    proxy: ScriptedProxy, store: Store, monkeypatch: pytest.MonkeyPatch, write: Callable[[Store], None]
) -> None:
    monkeypatch.setattr("components.store.s3.time.sleep", lambda _: None)
    monkeypatch.setattr("components.store.patient.time.sleep", lambda _: None)
    proxy.plan("PUT", *["conflict"] * 5)
    with pytest.raises(StoreUnavailable, match=r"answered ConditionalRequestConflict to PutObject on s3://.*/p/a$"):
        write(store)
    proxy.plan("PUT", *["conflict"] * 7)
    write(PatientStore(store, 60))
    assert store.read("a") == b"x"


def test_requests_that_always_arrive_too_slowly_are_waited_for(
    proxy: ScriptedProxy, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(s3_proxy._ERRORS, "damage", (400, "RequestTimeout"))
    for method, use in zip(("GET", "PUT", "PUT"), USES, strict=False):
        proxy.plan(method, *["damage"] * 50)
        with pytest.raises(StoreUnavailable, match=r"answered RequestTimeout to \w+ on s3://.*/p/a$"):
            use(store)


@pytest.mark.parametrize("fault", ["lose", "fail", "conflict"])
def test_a_create_whose_answer_is_lost_has_succeeded(proxy: ScriptedProxy, store: Store, fault: str) -> None:
    proxy.plan("PUT", fault)
    store.create("a", b"mine")
    assert proxy.seen[:2] == ["PUT", "PUT"]
    assert store.read("a") == b"mine"
    with pytest.raises(ObjectExists):
        store.create("a", b"mine")


def test_a_create_that_is_retried_yields_to_another_object(proxy: ScriptedProxy, store: Store) -> None:
    store.create("a", b"theirs")
    proxy.plan("PUT", "refuse")
    with pytest.raises(ObjectExists):
        store.create("a", b"mine")
    assert store.read("a") == b"theirs"


def test_a_multipart_upload_survives_faults(proxy: ScriptedProxy, store: Store, tmp_path: Path) -> None:
    assert isinstance(store, S3Store)
    store._transfer = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=2)
    (tmp_path / "f").write_bytes(bytes(range(256)) * (11 << 12))
    proxy.plan("POST", "refuse")
    proxy.plan("PUT", "drop", "refuse", "lose")
    store.upload(tmp_path / "f", "weights")
    proxy.plan("GET", "cut", "refuse")
    store.download("weights", tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == (tmp_path / "f").read_bytes()


@ALL_USES
@pytest.mark.usefixtures("moto")
def test_missing_bucket(use: Callable[[Store], object]) -> None:
    with pytest.raises(InputError, match=r"there is no bucket 'not-there' at http://127.0.0.1:\d+; create it first"):
        use(open_store("s3://not-there/p"))


def test_a_bucket_that_goes_away(store: Store) -> None:
    assert isinstance(store, S3Store)
    store._client.delete_bucket(Bucket=store.bucket)
    with pytest.raises(InputError, match="there is no bucket"):
        store.write("a", b"x")


@ALL_USES
def test_no_credentials(moto: str, monkeypatch: pytest.MonkeyPatch, use: Callable[[Store], object]) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match=rf"no complete S3 credentials for {moto}/p; set AWS_ACCESS_KEY_ID"):
        use(open_store(f"{moto}/p"))


def test_half_a_credential(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match=r"no complete S3 credentials"):
        open_store(moto).read("a")


@ALL_USES
@set_initial_no_auth_action_count(0)
def test_unknown_key_id(moto: str, monkeypatch: pytest.MonkeyPatch, use: Callable[[Store], object]) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDUNKNOWN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(InputError, match=r"refused \w+ on s3://.*; check AWS_ACCESS_KEY_ID") as refused:
        use(open_store(f"{moto}/p"))
    assert SECRET not in str(refused.value)


@pytest.mark.rgw
@ALL_USES
def test_wrong_secret(rgw: str, monkeypatch: pytest.MonkeyPatch, use: Callable[[Store], object]) -> None:
    open_store(f"{rgw}/p").write("a", b"x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(InputError, match=r"refused \w+ on s3://.*(SignatureDoesNotMatch|403)\); check") as refused:
        use(open_store(f"{rgw}/p"))
    assert SECRET not in str(refused.value)


@pytest.mark.rgw
def test_unknown_key_id_on_a_real_server(rgw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDUNKNOWN")
    with pytest.raises(InputError, match=r"refused GetObject on s3://.* \(InvalidAccessKeyId\)"):
        open_store(rgw).read("a")


@pytest.mark.rgw
def test_missing_bucket_on_a_real_server(rgw: str) -> None:
    with pytest.raises(InputError, match=r"there is no bucket"):
        open_store(f"{rgw}-not").read("a")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no-such-host.invalid:9000"])
def test_an_endpoint_nobody_listens_on_fails_within_seconds(
    moto: str, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    begin = time.monotonic()
    with pytest.raises(InputError, match=rf"cannot reach {endpoint}/?.* for {moto}/p; check AWS_ENDPOINT_URL"):
        open_store(f"{moto}/p").read("a")
    assert time.monotonic() - begin < 60, "eight patient attempts were made"


def test_an_endpoint_that_is_no_url(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(InputError, match=r"AWS_ENDPOINT_URL: Invalid endpoint: localhost:9000"):
        open_store(moto).read("a")


def test_a_password_in_the_endpoint_is_refused_and_not_shown(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:1")
    with pytest.raises(InputError, match=r"AWS_ENDPOINT_URL holds a user name or password") as refused:
        open_store(moto).read("a")
    assert SECRET not in str(refused.value)


def test_a_server_that_speaks_no_s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Website(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(418)
            self.end_headers()
            self.wfile.write(b"<html>a website</html>")

        do_HEAD = do_PUT = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    with loopback(Website) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(InputError, match=r"answered 418 to GetObject"):
            open_store(moto).read("a")


def test_the_region_of_the_environment_is_used(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    store = open_store(moto)
    assert isinstance(store, S3Store)
    assert store._client.meta.region_name == "eu-west-3"


def test_a_missing_object_is_distinguished_from_a_missing_bucket(moto: str) -> None:
    with pytest.raises(ObjectMissing, match=rf"^{moto}/p/a does not exist$"):
        open_store(f"{moto}/p").read("a")
