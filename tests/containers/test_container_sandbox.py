"""The sandbox for programs that models write, in the reward image with the rights of a restricted pod."""

import json
from pathlib import Path

import psutil
import pytest

from tests.support.hostile.held import assert_held

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

TESTS = Path(__file__).parents[1]
PSUTIL = Path(psutil.__file__).parent


def test_it_is_landlock_and_says_so(image, restricted):
    program = "from pipelines.preflight.machine_check import check_sandbox; print(*check_sandbox(), sep='\\n')"
    status, output = restricted(image("reward"), "python3", "-c", program)
    assert status == 0, output
    assert "mode landlock" in output
    namespaces = next(line for line in output.splitlines() if "sandbox: namespaces" in line)
    assert "Level.warning" in namespaces


def test_no_hostile_program_escapes_or_is_rewarded(image, restricted):
    mounts = {
        str(TESTS / "support" / "hostile"): {"bind": "/packages/tests/support/hostile", "mode": "ro"},
        str(PSUTIL): {"bind": "/packages/psutil", "mode": "ro"},
    }
    words = ("python3", "-m", "tests.support.hostile.run", json.dumps({"mode": "landlock", "processes": 1}))
    # An init reaps the grading processes' children, as a shell or a launcher above the stage does.
    settings = {"init": True, "volumes": mounts, "environment": {"PYTHONPATH": "/packages"}, "mem_limit": "4g"}
    status, output = restricted(image("reward"), *words, **settings)
    assert status == 0, output[-3000:]
    assert_held(json.loads(output.splitlines()[-1]))
