"""`docker/build`, with a builder that writes down what it is given."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]

DOCKER = """#!/bin/sh
case "$1" in
version) echo "${CLIENT:-28.2.2}" ;;
buildx) exit "${BUILDX:-0}" ;;
build)
    printf '%s\\n' "$@" >> "$RECORD/words"
    for word in "$@"; do
        case $word in id=*) name=${word#id=} && cp "${word#*src=}" "$RECORD/${name%%,*}" ;; esac
    done ;;
esac
"""
# All there is on the path: no other docker, no podman.
TOOLS = ("bash", "cat", "cp", "dirname", "git", "grep", "mktemp", "rm", "sed", "sh")
Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER, encoding="utf-8")
    docker.chmod(0o755)
    for tool in TOOLS:
        (docker.parent / tool).symlink_to(str(shutil.which(tool)))
    (tmp_path / "record").mkdir()

    def run(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": str(docker.parent), "RECORD": str(tmp_path / "record"), **variables}
        command = [str(REPOSITORY / "docker/build"), *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def recorded(tmp_path: Path, name: str) -> str:
    return (tmp_path / "record" / name).read_text(encoding="utf-8")


def test_images_are_named_by_prefix_and_tag(build: Build, tmp_path: Path):
    assert build("base", "train", PREFIX="registry.example/team", TAG="7").returncode == 0
    words = recorded(tmp_path, "words").split()
    assert [words[i + 1] for i, word in enumerate(words) if word == "--tag"] == [
        "registry.example/team/base:7",
        "registry.example/team/train:7",
    ]


def test_prefix_and_tag_have_defaults_also_when_they_are_empty(build: Build, tmp_path: Path):
    assert build("base", PREFIX="", TAG="").returncode == 0
    assert "rapid-rl/base:0.1.0" in recorded(tmp_path, "words")


def test_an_index_and_certificates_are_secrets_and_never_on_the_command_line(build: Build, tmp_path: Path):
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates", encoding="utf-8")
    index = "https://me:hidden@index.example/simple"
    done = build("base", PIP_EXTRA_INDEX_URL=index, PIP_FIND_LINKS="https://wheels.example/x", CA_BUNDLE=str(bundle))
    assert done.returncode == 0
    words = recorded(tmp_path, "words")
    assert "hidden" not in words + done.stdout + done.stderr
    assert "wheels.example" not in words
    assert recorded(tmp_path, "pip").splitlines() == [
        "[global]",
        f"extra-index-url = {index}",
        "find-links = https://wheels.example/x",
    ]
    assert recorded(tmp_path, "ca") == "certificates"


def test_what_was_lent_is_gone_afterwards(build: Build, tmp_path: Path):
    build("base", PIP_INDEX_URL="https://index.example/simple", TMPDIR=str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "record"}


def test_base_images_and_network_can_be_named(build: Build, tmp_path: Path):
    digest = "python:3.11.14-slim-bookworm@sha256:" + "0" * 64
    build("base", PYTHON_IMAGE=digest, NETWORK="host")
    words = recorded(tmp_path, "words").splitlines()
    assert f"PYTHON_IMAGE={digest}" in words
    assert words[words.index("--network") + 1] == "host"


@pytest.mark.parametrize(("client", "buildx", "status"), [("20.10.24", "1", 0), ("28.2.2", "1", 2), ("28.2.2", "0", 0)])
def test_a_client_that_cannot_build_with_secrets_is_not_used(build: Build, client: str, buildx: str, status: int):
    done = build("base", CLIENT=client, BUILDX=buildx)
    assert done.returncode == status
    if status:
        assert "buildx" in done.stderr
