"""Fixtures that several folders of tests share, and settings of the test session."""

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
from pytest_httpserver import HTTPServer

from components.contract.config import RunConfig
from components.contract.layout import RunLayout
from components.contract.resolve import config_json, parse_config
from components.store import Run, open_store

# Background jobs of a shell ignore SIGINT, and the processes that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests run side by side, with models so small that a second thread only waits for the first. Results then do not depend
# on the machine either. Set before anything imports PyTorch, and inherited by what tests start.
os.environ["OMP_NUM_THREADS"] = "1"

# KFP inspects the call stack a few hundred times per pipeline and reads only names; without source lines that takes a
# tenth of the time in a session with thousands of modules.
inspect.stack = partial(inspect.stack, 0)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REPOSITORY = Path(__file__).parents[1]
SHARED = Path(os.environ.get("RAPID_SHARED", REPOSITORY.parent / "shared"))

# The time of an example means nothing on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that need a real S3 server or a Docker daemon, unless `-m` names their marker."""
    unnamed = {"rgw", "containers"} - set(re.findall(r"\w+", config.getoption("markexpr")))
    deselected = [item for item in items if any(item.get_closest_marker(name) for name in unnamed)]
    if deselected:
        items[:] = [item for item in items if item not in deselected]
        config.hook.pytest_deselected(items=deselected)


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Return a function that replaces all that boto3 would find on this machine with the given variables."""

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
def make_httpserver() -> Iterator[HTTPServer]:
    """Start the server of the fixture `httpserver`, with a thread per request."""
    with HTTPServer("127.0.0.1", threaded=True) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[dict[str, str]]:
    """Start an S3 server in this process, which accepts any credentials; return the environment for it."""
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
    """Return the environment of a real S3 server: that of the AWS_* variables if RAPID_RGW=1, else Ceph RGW."""
    if os.environ.get("RAPID_RGW") == "1":
        return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    script = SHARED / "s3" / "start-rgw"
    if not script.exists():
        pytest.skip(f"no real S3 server: {script} does not exist; set RAPID_SHARED, or RAPID_RGW=1 and AWS_*")
    started = subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True)
    return dict(line.split("=", 1) for line in started.stdout.splitlines() if line.startswith("AWS_"))


@pytest.fixture
def moto(moto_server: dict[str, str], aws_environment: Callable[[dict[str, str]], None]) -> str:
    """Return `s3://<new bucket>` on the server in this process, and set the environment for it."""
    aws_environment(moto_server)
    return new_bucket()


@pytest.fixture
def rgw(rgw_server: dict[str, str], aws_environment: Callable[[dict[str, str]], None]) -> Iterator[str]:
    """Return `s3://<new bucket>` on a real S3 server; the bucket is removed after the test."""
    aws_environment(rgw_server)
    uri = new_bucket()
    yield uri
    # The test may have changed the credentials in the environment.
    aws_environment(rgw_server)
    client = s3_client()
    bucket = uri.removeprefix("s3://")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=item["Key"])
    client.delete_bucket(Bucket=bucket)


def s3_client() -> "S3Client":
    """Return a plain client of the server in the environment, to inspect what the store wrote."""
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
    """Return a function: `example_config("train.updates=2", ...)` is a small valid configuration with overrides.

    It names a store, a model directory and a prompt file below tmp_path, none of which exists.
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
    """Return a function: `make_run("rollout.shards=2", ...)` is a run with a stored `example_config(...)`.

    It has neither prompts nor policy yet; `store=s3://...` moves it.
    """

    def make(*overrides: str) -> Run:
        config = example_config(*overrides)
        run = Run(open_store(config.store.uri), RunLayout(config.run.name), config)
        run.store.write(run.layout.config, config_json(config).encode())
        return run

    return make
