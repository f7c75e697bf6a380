"""Fixtures that several folders of tests share."""

import inspect
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import hypothesis
import pytest
import yaml

from components.contract.config import RunConfig
from components.contract.layout import RunLayout
from components.contract.resolve import config_json, parse_config
from components.store import Run, open_store

# A shell's background jobs ignore Ctrl-C, and so would every process that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# KFP asks for the names of its callers a few hundred times a pipeline; with their source, which nobody reads, that
# takes ten times as long among the thousands of modules of a test session.
inspect.stack = partial(inspect.stack, 0)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REPOSITORY = Path(__file__).parents[1]
SHARED = Path(os.environ.get("RAPID_SHARED", REPOSITORY.parent / "shared"))

# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a real S3 server or a Docker daemon, unless `-m` speaks of it: that takes minutes."""
    unspoken = {"rgw", "containers"} - set(re.findall(r"\w+", config.getoption("markexpr")))
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in unspoken)]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Replaces everything boto3 would find on this machine by the given variables."""

    def use(variables: dict[str, str]) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        ours = {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        for name, value in (ours | variables).items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture(scope="session")
def moto_server() -> Iterator[dict[str, str]]:
    """An S3 server inside this process; gives the environment that reaches it. It authenticates nobody."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture(scope="session")
def rgw_server() -> dict[str, str]:
    """A real S3 server: the one that the AWS_* variables name if RAPID_RGW=1, else Ceph RGW, started here."""
    if os.environ.get("RAPID_RGW") == "1":
        return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    script = SHARED / "s3" / "start-rgw"
    if not script.exists():
        pytest.skip(f"no real S3 server: {script} does not exist; set RAPID_SHARED, or RAPID_RGW=1 and AWS_*")
    started = subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True)
    return dict(line.split("=", 1) for line in started.stdout.splitlines() if line.startswith("AWS_"))


@pytest.fixture
def moto(moto_server: dict[str, str], aws_environment: Callable[[dict[str, str]], None]) -> str:
    """`s3://<new bucket>` on the in-process server, with the environment set for this test."""
    aws_environment(moto_server)
    return new_bucket()


@pytest.fixture
def rgw(rgw_server: dict[str, str], aws_environment: Callable[[dict[str, str]], None]) -> Iterator[str]:
    """`s3://<new bucket>` on a real S3 server, removed afterwards."""
    aws_environment(rgw_server)
    uri = new_bucket()
    yield uri
    # A test may have put wrong credentials into the environment.
    aws_environment(rgw_server)
    client = s3_client()
    bucket = uri.removeprefix("s3://")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=item["Key"])
    client.delete_bucket(Bucket=bucket)


def s3_client() -> "S3Client":
    """A bare client of the server in the environment, to look behind the store."""
    return _s3_client(os.environ["AWS_ENDPOINT_URL"], os.environ["AWS_ACCESS_KEY_ID"])


@cache
def _s3_client(endpoint: str, key_id: str) -> "S3Client":
    session = boto3.session.Session(key_id, os.environ["AWS_SECRET_ACCESS_KEY"])
    return session.client("s3", endpoint_url=endpoint, region_name=os.environ.get("AWS_REGION", "us-east-1"))


def new_bucket() -> str:
    bucket = f"rapid-{uuid.uuid4().hex}"
    s3_client().create_bucket(Bucket=bucket)
    return f"s3://{bucket}"


@pytest.fixture
def example_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """`example_config("train.updates=2", ...)`: a small valid configuration below tmp_path, with overrides.

    It names a store, a model directory and a prompt file, of which none exists yet.
    """

    def make(*overrides: str) -> RunConfig:
        tree = {
            "run": {"name": "example", "seed": 7},
            "store": {"uri": str(tmp_path / "store")},
            "model": {"path": str(tmp_path / "model"), "dtype": "float32", "max_length": 64},
            "data": {"train": str(tmp_path / "prompts.jsonl"), "eval_prompts": 4},
            "rollout": {"group_size": 4, "max_tokens": 16, "part_groups": 2},
            "reward": {"graders": [{"name": "exact"}]},
            "train": {"updates": 2, "mini_batch_prompts": 2, "learning_rate": 1e-4},
            "evaluate": {"samples": 4, "pass_k": [1, 4]},
            "tracking": {"enabled": False},
            "loop": {"iterations": 2},
        }
        return parse_config(yaml.safe_dump(tree), overrides)

    return make


@pytest.fixture
def make_run(example_config: Callable[..., RunConfig]) -> Callable[..., Run]:
    """`make_run("rollout.shards=2", ...)`: a run of `example_config(...)` whose store holds its configuration.

    Prompts and policy are not in it; `store=s3://...` puts it elsewhere.
    """

    def make(*overrides: str) -> Run:
        config = example_config(*overrides)
        run = Run(open_store(config.store.uri), RunLayout(config.run.name), config)
        run.store.write(run.layout.config, config_json(config).encode())
        return run

    return make
