"""S3 and servers that speak its protocol, through boto3."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)

from components.contract.errors import InputError
from components.store.base import ObjectExists, ObjectInfo, ObjectMissing, Store, StoreUnavailable
from components.store.files import writing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = ("404", "NoSuchKey", "NotFound")
_REFUSED = (
    "401",
    "403",
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
)
_BROKEN_BODY = (FlexibleChecksumError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
_DAMAGED = ("BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch")
"""Answers to a body that arrived otherwise than it was sent."""

_CONFLICT, _THROTTLED = 409, 429
_ATTEMPTS = 5


Result = TypeVar("Result")


class S3Store(Store):
    """Objects below `s3://bucket/prefix`.

    Credentials, region and endpoint come from boto3's usual places (`AWS_ACCESS_KEY_ID`, `AWS_REGION`,
    `AWS_ENDPOINT_URL`, profiles, pod identity). Bodies travel with CRC32 checksums, boto3's default; large
    files as multipart transfers; throttling and connection errors are retried by botocore.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.uri = "/".join(filter(None, [f"s3://{bucket}", self.prefix]))
        self._transfer = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=32 << 20)

    @cached_property
    def _client(self) -> "S3Client":
        """Made on first use, once one request has been answered.

        A wrong address thereby fails within seconds, while a server that goes away later is waited for.
        """
        # botocore itself reads AWS_DEFAULT_REGION only; containers and other SDKs use AWS_REGION.
        session = Session(region_name=os.environ.get("AWS_REGION"))
        impatient = _connect(session, connect_timeout=3, read_timeout=10, max_attempts=2)
        try:
            impatient.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if _status(error) == 404:
                raise self._no_bucket(impatient.meta.endpoint_url) from None
            # Any other refusal is answered again, and with its reason, to the request that is to be made.
        return _connect(session, connect_timeout=10, read_timeout=60, max_attempts=8)

    def read(self, key: str) -> bytes:
        with self._input_errors(key):
            return _whole(lambda: self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read())

    def write(self, key: str, data: bytes) -> None:
        with self._input_errors(key):
            _whole(lambda: self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data))

    def create(self, key: str, data: bytes) -> None:
        with self._input_errors(key):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data, IfNoneMatch="*")
                    return
                except ClientError as error:
                    if _asks_again(error) and attempt < _ATTEMPTS:
                        time.sleep(0.05 * 2**attempt)
                        continue
                    if _status(error) != 412:
                        raise
                    # A retried request may meet the object that its own lost first attempt made.
                    retried = attempt > 1 or error.response["ResponseMetadata"].get("RetryAttempts", 0)
                    if retried and self.read(key) == data:
                        return
                    raise ObjectExists(self.locate(key)) from None

    def upload(self, path: Path, key: str) -> None:
        with self._input_errors(key):
            _whole(lambda: self._client.upload_file(str(path), self.bucket, self._key(key), Config=self._transfer))

    def download(self, key: str, path: Path) -> None:
        with self._input_errors(key), writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _whole(lambda: self._client.download_file(self.bucket, self._key(key), str(path), Config=self._transfer))

    def exists(self, key: str) -> bool:
        try:
            with self._input_errors(key):
                self._client.head_object(Bucket=self.bucket, Key=self._key(key))
        except ObjectMissing:
            return False
        return True

    def list(self, prefix: str) -> list[ObjectInfo]:
        start = self._key(prefix).rstrip("/") + "/" if prefix or self.prefix else ""
        strip = len(self.prefix) + 1 if self.prefix else 0
        with self._input_errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            return sorted(
                (ObjectInfo(item["Key"][strip:], item["Size"]) for page in pages for item in page.get("Contents", [])),
                key=lambda info: info.key,
            )

    def delete(self, key: str) -> None:
        with self._input_errors(key):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(key))

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002
        return None

    def _key(self, key: str) -> str:
        assert not key.startswith("/"), key
        return "/".join(filter(None, [self.prefix, key]))

    @contextmanager
    def _input_errors(self, key: str) -> Iterator[None]:
        """Translate what a user can fix; botocore's own retries have been made by then."""
        try:
            yield
        except ClientError as error:
            raise self._input_error(error, key) from None
        except S3UploadFailedError as error:
            if isinstance(error.__context__, ClientError):
                raise self._input_error(error.__context__, key) from None
            raise StoreUnavailable(f"upload to {self.locate(key)} failed: {error}") from None
        except (NoCredentialsError, PartialCredentialsError):
            raise InputError(
                f"no complete S3 credentials for {self.uri}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "a profile, or run where a role is attached"
            ) from None
        except (EndpointConnectionError, ConnectTimeoutError) as error:
            raise StoreUnavailable(
                f"cannot reach {error.kwargs['endpoint_url']} for {self.uri}; check AWS_ENDPOINT_URL and the network"
            ) from None
        except SSLError as error:
            raise InputError(f"{self.uri}: {error}; check AWS_ENDPOINT_URL and AWS_CA_BUNDLE") from None
        except (HTTPClientError, *_BROKEN_BODY) as error:
            raise StoreUnavailable(f"{self.locate(key)}: {error}") from None
        except BotoCoreError as error:
            raise InputError(f"{self.uri}: {error}") from None

    def _input_error(self, error: ClientError, key: str) -> InputError:
        code = _code(error)
        endpoint = self._client.meta.endpoint_url
        if code == "NoSuchBucket":
            return self._no_bucket(endpoint)
        if code in _MISSING:
            return ObjectMissing(f"{self.locate(key)} does not exist")
        if code in _REFUSED:
            return InputError(
                f"{endpoint} refused {error.operation_name} on {self.locate(key)} ({code}); "
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights on the bucket"
            )
        message = f"{endpoint} answered {code} to {error.operation_name} on {self.locate(key)}"
        if code == "RequestTimeTooSkewed":
            return StoreUnavailable(f"{message}: the clocks of this machine and of the server differ")
        if _status(error) >= 500 or _status(error) == _THROTTLED or code == "RequestTimeout" or _asks_again(error):
            return StoreUnavailable(message)
        return InputError(message)

    def _no_bucket(self, endpoint: str) -> InputError:
        return InputError(f"there is no bucket {self.bucket!r} at {endpoint}; create it first")


def _connect(session: Session, connect_timeout: float, read_timeout: float, max_attempts: int) -> "S3Client":
    try:
        client: S3Client = session.client(
            "s3",
            config=Config(
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                retries={"mode": "standard", "total_max_attempts": max_attempts},
            ),
        )
    except ValueError as error:
        raise InputError(f"AWS_ENDPOINT_URL: {error}") from None
    if "@" in urlsplit(client.meta.endpoint_url).netloc:
        raise InputError(
            "AWS_ENDPOINT_URL holds a user name or password; "
            "give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    return client


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code") or str(_status(error))


def _asks_again(error: ClientError) -> bool:
    """Return whether the same request may be answered otherwise at once: writes overlapped, or the body was damaged."""
    return _status(error) == _CONFLICT or _code(error) in _DAMAGED


def _whole(transfer: Callable[[], Result]) -> Result:
    """Return what a transfer returns; it is made again where a body broke off or the server asks for that.

    botocore retries requests, but not for that.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return transfer()
        except _BROKEN_BODY:
            continue
        except (ClientError, S3UploadFailedError) as error:
            refusal = error.__context__ if isinstance(error, S3UploadFailedError) else error
            if not isinstance(refusal, ClientError) or not _asks_again(refusal):
                raise
            time.sleep(0.05 * 2**attempt)
    return transfer()
