"""Every image: what it holds, what it does not hold, and that it runs with the rights a restricted pod has."""

import json
import os
from typing import Any

import pytest

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

IMAGES = ("base", "reward", "cpu", "rollout", "train", "pod")
FORBIDDEN = r"""
import glob, os, shutil
print(*filter(shutil.which, ("gcc", "cc", "g++", "c++", "clang", "make", "pip")))
print(*filter(os.path.exists, ("/root/.cache", "/build", "/source", "/wheels", "/tools")))
print(*glob.glob("/var/lib/apt/lists/*Packages*"), *glob.glob("/var/cache/apt/archives/*.deb"))
"""


@pytest.mark.parametrize("name", IMAGES)
def test_everything_its_stages_import_is_there_on_a_read_only_root(image, restricted, name):
    status, output = restricted(image(name), "python3", "/opt/rapid/check.py", name, "--import")
    assert f"{name}: complete" in output, output
    assert status == 0


@pytest.mark.parametrize("name", IMAGES)
def test_it_runs_as_nobody_in_particular(image, restricted, name):
    program = "id -u; id -g; touch /tmp/x && echo scratch; touch /opt/rapid/x /x 2>/dev/null || echo read-only"
    status, output = restricted(image(name), "sh", "-c", program)
    assert output.split() == ["10001", "10001", "scratch", "read-only"]
    assert status == 0


@pytest.mark.parametrize("name", IMAGES)
def test_neither_compiler_nor_caches_nor_what_the_build_was_lent_are_left(daemon, image, restricted, name):
    status, output = restricted(image(name), "python3", "-c", FORBIDDEN)
    assert (status, output.split()) == (0, [])
    history = json.dumps(daemon.images.get(image(name)).history())
    lent = [os.environ.get(variable, "") for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT")]
    for text in filter(None, lent):
        assert text not in history
    status, output = restricted(image(name), "sh", "-c", "cat /etc/pip.conf /run/secrets/*")
    assert status != 0
    assert output.count("No such file") == 2


@pytest.mark.parametrize("name", IMAGES)
def test_labels_say_what_it_is(daemon: Any, image, name):
    labels = daemon.images.get(image(name)).labels
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == f"rapid {name}"
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert labels[f"{prefix}version"] == "0.1.0"
    assert labels[f"{prefix}base.name"]
    assert len(labels[f"{prefix}revision"]) == 40


@pytest.mark.parametrize("name", ["base", "reward"])
def test_slim_images_have_no_torch(image, restricted, name):
    status, output = restricted(image(name), "python3", "-c", "import torch")
    assert status == 1
    assert "No module named 'torch'" in output


@pytest.mark.parametrize(("name", "module"), [("base", "prepare"), ("rollout", "rollout"), ("reward", "reward")])
def test_a_stage_says_in_one_line_what_is_wrong_with_its_input(image, restricted, name, module):
    words = ["/tmp/none.yaml"] if module == "prepare" else ["/tmp/none", "--round", "iteration-0001"]
    status, output = restricted(image(name), "python3", "-m", f"components.{module}", *words)
    assert status == 2, output
    assert "/tmp/none" in output
    assert "Traceback" not in output
