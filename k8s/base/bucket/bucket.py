"""Makes the bucket ready for runs: it is there, refuses to overwrite on request, and forgets unfinished uploads.

May run any number of times. Reads RAPID_BUCKET and the AWS_* variables; prints what it did, or in a line why not.
"""

import os
import sys
import uuid
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

RULE = "rapid-unfinished-uploads"
DAYS = 7
_NO_LIFECYCLE = ("NotImplemented", "MethodNotAllowed", "InvalidArgument", "InvalidRequest", "501", "405")


def main() -> str | None:
    """Do all of it; what is wrong in a line, None if nothing is."""
    bucket = os.environ["RAPID_BUCKET"]
    # An empty variable means Amazon's own endpoint, as an absent one does.
    client = boto3.session.Session(region_name=os.environ.get("AWS_REGION")).client(
        "s3",
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or None,
        config=Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4}),
    )
    try:
        _make(client, bucket)
        if not _keeps_what_is_there(client, bucket):
            return (
                f"{client.meta.endpoint_url} overwrote an object in spite of If-None-Match; "
                "runs need a server that honours it (AWS S3, Ceph RGW, SeaweedFS from 4.17)"
            )
        _forget_unfinished_uploads(client, bucket)
    except ClientError as error:
        return f"{client.meta.endpoint_url} answered {_code(error)} to {error.operation_name} on bucket {bucket!r}"
    except BotoCoreError as error:
        return f"{client.meta.endpoint_url}: {error}"
    return None


def _make(client, bucket: str) -> None:
    try:
        client.head_bucket(Bucket=bucket)
        print(f"bucket {bucket!r} is there")
        return
    except ClientError as error:
        if _code(error) not in ("404", "NoSuchBucket", "NotFound"):
            raise
    region, host = client.meta.region_name, urlsplit(client.meta.endpoint_url).hostname or ""
    # Amazon wants the region named, unless it is its first one; other servers know no regions.
    elsewhere = host.endswith(".amazonaws.com") and region not in (None, "us-east-1", "aws-global")
    where = {"CreateBucketConfiguration": {"LocationConstraint": region}} if elsewhere else {}
    try:
        client.create_bucket(Bucket=bucket, **where)
    except ClientError as error:
        if _code(error) != "BucketAlreadyOwnedByYou":  # made meanwhile by another try of this job
            raise
    print(f"made bucket {bucket!r}")


def _keeps_what_is_there(client, bucket: str) -> bool:
    """Return True if the server refuses a create-only put over an object, which every commit of a run relies on."""
    key = f".rapid-probe/{uuid.uuid4().hex}"
    client.put_object(Bucket=bucket, Key=key, Body=b"first", IfNoneMatch="*")
    try:
        client.put_object(Bucket=bucket, Key=key, Body=b"second", IfNoneMatch="*")
    except ClientError as error:
        if _code(error) not in ("412", "PreconditionFailed"):
            raise
        return True
    finally:
        client.delete_object(Bucket=bucket, Key=key)
    return False


def _forget_unfinished_uploads(client, bucket: str) -> None:
    """Add the rule to the existing ones. A server without such rules is reported, but not an error."""
    try:
        rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except ClientError as error:
        rules = []
        if _code(error) != "NoSuchLifecycleConfiguration":
            print(f"rules cannot be read ({_code(error)}): unfinished uploads stay until someone removes them")
            return
    if any(rule.get("ID") == RULE for rule in rules):
        print(f"rule {RULE!r} is there")
        return
    ours = {
        "ID": RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": DAYS},
    }
    try:
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [*rules, ours]})
    except ClientError as error:
        if _code(error) not in _NO_LIFECYCLE:
            raise
        print(f"no rules here ({_code(error)}): unfinished uploads stay until someone removes them")
        return
    print(f"unfinished uploads are removed after {DAYS} days")


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code") or str(error.response["ResponseMetadata"]["HTTPStatusCode"])


if __name__ == "__main__":
    sys.exit(main())
