"""Stores by the scheme of their URI."""

import re
from pathlib import Path
from urllib.parse import unquote, urlparse

from components.contract.errors import InputError
from components.store.base import Store
from components.store.local import LocalStore
from components.store.patient import PatientStore, patience_seconds

_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")


def open_store(uri: str, patient: bool = True) -> Store:
    """Open `s3://bucket/prefix`, `file:///absolute/path` or a plain directory.

    Args:
        patient: in a pod, wait for S3 that does not answer.

    Raises:
        InputError: another scheme, or a malformed URI.
    """
    if "://" not in uri:
        return LocalStore(Path(uri).expanduser())
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        if parsed.netloc not in ("", "localhost"):
            # `file://runs` reads as a host name; people mean the relative directory.
            raise InputError(f"store {uri!r}: write an absolute path (file:///...) or a plain directory name")
        return LocalStore(Path(unquote(parsed.path) or "/"))
    if parsed.scheme == "s3":
        bucket, prefix = bucket_and_prefix(uri)
        # Imported here so that a run on local files does not pay for boto3's start-up.
        from components.store.s3 import S3Store

        store = S3Store(bucket, prefix)
        return PatientStore(store, seconds) if patient and (seconds := patience_seconds()) else store
    raise InputError(f"store {uri!r}: unknown scheme {parsed.scheme!r}; use a directory, file:/// or s3://")


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/prefix`. Raises InputError where the bucket's name is not valid."""
    # Taken apart by hand: in a key, unlike in other URIs, `%`, `?` and `#` are letters like any other.
    bucket, _, prefix = uri.partition("://")[2].partition("/")
    if not _BUCKET.match(bucket):
        if "@" in uri:
            raise InputError("store: no credentials in an s3:// URI; set AWS_ACCESS_KEY_ID and its secret instead")
        raise InputError(f"store {uri!r}: {bucket!r} is not a bucket name; write s3://bucket/prefix")
    return bucket, prefix
