"""Hostile programs against every sandbox this machine has, as root and as an ordinary user."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.reward.sandbox import modes
from components.reward.sandbox.inside.confine import landlock_abi
from tests.hostile import CHEATING, ESCAPES, EXHAUSTION
from tests.hostile.run import World

REPOSITORY = Path(__file__).parents[3]
ORDINARY_USER = 54321

# Attempts that may be made without a sandbox, and then succeed: that shows that they are attempts.
UNCONFINED = """
tcp; udp; a listening socket; unix socket; abstract unix socket; netlink; read a file outside; symbolic link out;
socket through native code; relative path out; the system's passwords; environment; list processes;
link to a parent's program; probe a process; limits of a process; anonymous files; System V shared memory;
inherited descriptors; set-uid file
"""


@pytest.fixture(scope="session")
def open_python() -> Iterator[str]:
    """An interpreter that every user may start: this one, or a copy of it where it lies in a closed folder."""
    executable = Path(os.path.realpath(sys.executable))
    if all(folder.stat().st_mode & 0o001 for folder in executable.parents):
        yield str(executable)
        return
    root = Path(tempfile.mkdtemp(prefix="rapid-python-"))  # pytest's own folders are closed to others
    root.chmod(0o755)
    (root / "bin").mkdir(mode=0o755)
    shutil.copy(executable, root / "bin")
    library = Path(sysconfig.get_path("stdlib"))
    left_out = shutil.ignore_patterns(
        "site-packages", "test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "config-*"
    )
    shutil.copytree(library, root / "lib" / library.name, ignore=left_out)
    for shared in library.parent.glob("libpython*.so*"):
        shutil.copy(shared, root / "lib")
    yield str(root / "bin" / executable.name)
    shutil.rmtree(root)


@pytest.fixture
def grade_all(open_python):
    """`grade_all(user, settings)`: what `tests.hostile.run` says under root or an ordinary user."""

    def grade(user: str, **settings: object) -> dict:
        if user == "root" and os.geteuid() != 0:
            pytest.skip("not root here")
        other = user != "root" and os.geteuid() == 0
        identity = {"user": ORDINARY_USER, "group": ORDINARY_USER, "extra_groups": []} if other else {}
        words = [open_python, "-m", "tests.hostile.run", json.dumps(settings)]
        paths = os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": paths}
        done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY, env=variables, **identity)
        if "Permission denied" in done.stderr and "site-packages" not in done.stderr:
            pytest.skip(f"an ordinary user cannot read this project: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return grade


@pytest.mark.slow
@pytest.mark.parametrize(
    ("user", "mode", "processes"),
    [
        ("root", "namespaces", 1),
        ("root", "namespaces", 8),
        ("root", "landlock", 1),
        ("ordinary", "namespaces", 8),
        ("ordinary", "landlock", 1),
    ],
)
def test_none_escapes_none_is_rewarded_none_outlives_its_run(grade_all, user, mode, processes):
    if mode == "namespaces" and not modes.namespaces().holds:
        pytest.skip(f"no namespaces here: {modes.namespaces().found}")
    if mode == "landlock" and not landlock_abi():
        pytest.skip("no Landlock in this kernel")
    found = grade_all(user, mode=mode, processes=processes)
    outcomes = found["outcomes"]
    assert found["traces"] == []
    assert outcomes.keys() == {*ESCAPES, *EXHAUSTION, *CHEATING}
    assert {name: outcome for name, outcome in outcomes.items() if outcome[:2] != ["ok", 0.0]} == {}
    # What was attempted was denied, rather than never tried; a seccomp filter may end who calls by another gate.
    answers = {name: outcomes[name][2] for name in ESCAPES}
    assert {n: a for n, a in answers.items() if "gave 'held'" not in a and "SIGSYS" not in a} == {}


def test_the_corpus_is_no_smaller_than_promised():
    assert len({**ESCAPES, **EXHAUSTION, **CHEATING}) == len(ESCAPES) + len(EXHAUSTION) + len(CHEATING) >= 60


def test_attempts_succeed_where_nothing_confines_them(tmp_path):
    with World() as world:
        names = [name.strip() for name in " ".join(UNCONFINED.split()).split(";")]
        program = textwrap.dedent("""
            import json, sys
            for name, text in json.load(sys.stdin).items():
                space = {}
                exec(text, space)
                print(json.dumps([name, space["attack"]()]))
        """)
        texts = {name: world.fill(ESCAPES[name]) for name in names}
        with (tmp_path / "held open").open("w") as file:
            done = subprocess.run(
                [sys.executable, "-c", program],
                input=json.dumps(texts),
                capture_output=True,
                text=True,
                check=True,
                cwd=tmp_path,
                pass_fds=[file.fileno()],
            )
        answers = dict(json.loads(line) for line in done.stdout.splitlines())
    assert {name for name, answer in answers.items() if answer != "escaped"} == set()
    assert answers.keys() == set(names)
