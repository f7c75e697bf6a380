"""Fixtures that run a module as root or as an ordinary user, in an interpreter that every user may start."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.sandbox.paths import closed_folder

REPOSITORY = Path(__file__).parents[2]
# Other test runs on this machine use the same range.
ORDINARY_USER = 50_000 + os.getpid() % 10_000


@pytest.fixture(scope="session")
def open_python() -> Iterator[str]:
    """An interpreter that every user may start: this one, or a copy of it where it lies in a closed folder."""
    executable = Path(os.path.realpath(sys.executable))
    if closed_folder() is None:
        yield str(executable)
        return
    root = Path(tempfile.mkdtemp(prefix="rapid-python-"))  # pytest's own folders are closed to others
    root.chmod(0o755)
    (root / "bin").mkdir(mode=0o755)
    shutil.copy(executable, root / "bin")
    library = Path(sysconfig.get_path("stdlib"))
    left_out = shutil.ignore_patterns(
        "site-packages", "test", "tests", "idlelib", "tkinter", "lib2to3", "config-*", "*.opt-?.pyc"
    )
    shutil.copytree(library, root / "lib" / library.name, ignore=left_out)
    for shared in library.parent.glob("libpython*.so*"):
        shutil.copy(shared, root / "lib")
    yield str(root / "bin" / executable.name)
    shutil.rmtree(root)


@pytest.fixture
def in_open_python(open_python) -> Callable[..., Any]:
    """`in_open_python(module, user, **settings)`: what a module prints as JSON, as root or an `ordinary` user.

    `root` uses an interpreter that every user may start, `root with its own interpreter` the one of this process.
    """

    def run(module: str, user: str, **settings: object) -> Any:
        if user != "ordinary" and os.geteuid() != 0:
            pytest.skip("not root here")
        if user == "root with its own interpreter" and closed_folder() is None:
            pytest.skip("every user can reach this interpreter")
        other = user == "ordinary" and os.geteuid() == 0
        python = sys.executable if user == "root with its own interpreter" else open_python
        identity = {"user": ORDINARY_USER, "group": ORDINARY_USER, "extra_groups": []} if other else {}
        words = [python, "-m", module, json.dumps(settings)]
        paths = os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])
        kept = {name: os.environ[name] for name in ("PATH", "RAPID_SHARED") if name in os.environ}
        variables = {**kept, "PYTHONPATH": paths}
        done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY, env=variables, **identity)
        if "No module named 'components'" in done.stderr:
            pytest.skip("an ordinary user cannot read this project")
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return run
