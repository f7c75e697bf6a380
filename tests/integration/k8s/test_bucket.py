"""The bucket job's script against S3 servers."""

import importlib.util
import os
import uuid
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from tests.support.manifests import K8S

RULE = "rapid-unfinished-uploads"


def s3_client() -> Any:
    """A bare client of the server in the environment."""
    return _s3_client(os.environ["AWS_ENDPOINT_URL"], os.environ["AWS_ACCESS_KEY_ID"])


@cache
def _s3_client(endpoint: str, key_id: str) -> Any:
    session = boto3.session.Session(key_id, os.environ["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
    return session.client("s3", endpoint_url=endpoint)


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bucket", K8S / "base" / "bucket" / "bucket.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bucket(
    moto_server: dict[str, str], aws_environment: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> str:
    """The name of a bucket that the job is to make on the in-process server."""
    aws_environment(moto_server)
    return named(monkeypatch)


def named(monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"rapid-{uuid.uuid4().hex}"
    monkeypatch.setenv("RAPID_BUCKET", name)
    return name


@pytest.fixture
def on_the_way(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """`on_the_way("before-call.s3.PutObject", handler)`: changes what clients send, or what they are answered."""
    handlers: list[tuple[str, Any]] = []
    make = boto3.session.Session.client

    def client(self: boto3.session.Session, *args: Any, **kwargs: Any) -> Any:
        made = make(self, *args, **kwargs)
        for event, handler in handlers:
            made.meta.events.register(event, handler)
        return made

    monkeypatch.setattr(boto3.session.Session, "client", client)
    return lambda event, handler: handlers.append((event, handler))


def refusing(status: int, code: str) -> Callable[..., AWSResponse]:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    class Raw:
        def stream(self, **_: object) -> Any:
            yield body

    return lambda request, **_: AWSResponse(request.url, status, {"Content-Type": "application/xml"}, Raw())


def rules(bucket: str) -> list[dict[str, Any]]:
    return s3_client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]


def keys(bucket: str) -> list[str]:
    return [item["Key"] for item in s3_client().list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_it_makes_the_bucket_and_its_rule_and_leaves_nothing(script: ModuleType, bucket: str) -> None:
    assert script.main() is None
    (rule,) = rules(bucket)
    assert rule["ID"] == RULE
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert keys(bucket) == []


def test_again_it_changes_nothing(script: ModuleType, bucket: str) -> None:
    assert script.main() is None
    s3_client().put_object(Bucket=bucket, Key="runs/a/config.json", Body=b"{}")
    before = rules(bucket)
    assert script.main() is None
    assert rules(bucket) == before
    assert keys(bucket) == ["runs/a/config.json"]


def test_rules_of_others_stay(script: ModuleType, bucket: str) -> None:
    theirs = {"ID": "old-logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}}
    s3_client().create_bucket(Bucket=bucket)
    s3_client().put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [theirs]})
    assert script.main() is None
    assert {rule["ID"] for rule in rules(bucket)} == {"old-logs", RULE}


def test_a_server_that_overwrites_in_spite_of_the_condition_is_refused(
    script: ModuleType, bucket: str, on_the_way: Callable[[str, Any], None]
) -> None:
    on_the_way("before-call.s3.PutObject", lambda params, **_: params["headers"].pop("If-None-Match", None) and None)
    assert "in spite of If-None-Match" in (script.main() or "")
    assert keys(bucket) == []


@pytest.mark.usefixtures("bucket")
def test_a_server_without_rules_is_reported_and_not_an_error(
    script: ModuleType,
    on_the_way: Callable[[str, Any], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    on_the_way("before-send.s3.PutBucketLifecycleConfiguration", refusing(501, "NotImplemented"))
    assert script.main() is None
    assert "no rules here (NotImplemented)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        ("before-send.s3.HeadBucket", 403, "AccessDenied"),
        ("before-send.s3.PutBucketLifecycleConfiguration", 403, "AccessDenied"),
        ("before-send.s3.PutObject", 403, "InvalidAccessKeyId"),
    ],
)
def test_refusals_are_one_line_that_names_the_bucket(
    script: ModuleType, bucket: str, on_the_way: Callable[[str, Any], None], event: str, status: int, code: str
) -> None:
    on_the_way(event, refusing(status, code))
    said = script.main() or ""
    assert bucket in said
    assert code in said or str(status) in said
    assert "\n" not in said
    assert "testing-secret" not in said


@pytest.mark.usefixtures("bucket")
def test_no_server_is_one_line(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(script, "Config", lambda **_: None)
    said = script.main() or ""
    assert "127.0.0.1:9" in said
    assert "\n" not in said


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("endpoint", "region", "sent"),
    [
        ("https://s3.eu-central-1.amazonaws.com", "eu-central-1", "eu-central-1"),
        ("", "eu-central-1", "eu-central-1"),
        ("https://s3.us-east-1.amazonaws.com", "us-east-1", None),
        ("http://rapid-s3:8333", "eu-central-1", None),
    ],
)
def test_only_amazon_receives_the_region(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    on_the_way: Callable[[str, Any], None],
    endpoint: str,
    region: str,
    sent: str | None,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_REGION", region)
    bodies: list[bytes] = []
    on_the_way("before-send.s3.HeadBucket", refusing(404, "NoSuchBucket"))

    def create(request: Any, **_: object) -> AWSResponse:
        bodies.append(request.body or b"")
        return refusing(403, "Stop")(request)

    on_the_way("before-send.s3.CreateBucket", create)
    assert "Stop" in (script.main() or "")
    (body,) = bodies
    if sent:
        assert f"<LocationConstraint>{sent}<".encode() in body
    else:
        assert b"LocationConstraint" not in body


@pytest.mark.rgw
def test_against_ceph(
    script: ModuleType,
    rgw_server: dict[str, str],
    aws_environment: Callable[[dict[str, str]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aws_environment(rgw_server)
    bucket = named(monkeypatch)
    try:
        assert script.main() is None
        assert script.main() is None
        assert [rule["ID"] for rule in rules(bucket)] == [RULE]
        assert keys(bucket) == []
    finally:
        s3_client().delete_bucket(Bucket=bucket)
