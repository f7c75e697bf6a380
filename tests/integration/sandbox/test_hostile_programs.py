"""Hostile programs against every sandbox this machine has, as root and as an ordinary user."""

import json
import subprocess
import sys
import textwrap

import pytest

from components.sandbox import modes
from components.sandbox.inside.confine import landlock_abi
from tests.support.hostile import CHEATING, ESCAPES, EXHAUSTION
from tests.support.hostile.held import assert_held
from tests.support.hostile.run import World

# Attempts that are harmless without a sandbox, where they succeed: this shows that they are real attempts.
UNCONFINED = """
tcp; udp; a listening socket; unix socket; abstract unix socket; netlink; read a file outside; symbolic link out;
socket through native code; relative path out; the system's passwords; environment; list processes;
link to a parent's program; probe a process;
processor time of a process; processors allowed to a process; limits of a process; anonymous files;
System V shared memory; inherited descriptors; set-uid file
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("user", "mode", "processes"),
    [
        ("root", "namespaces", 1),
        ("root", "namespaces", 8),
        ("root", "landlock", 1),
        ("root with its own interpreter", "landlock", 1),
        ("ordinary", "namespaces", 8),
        ("ordinary", "landlock", 1),
    ],
)
def test_none_escapes_none_is_rewarded_none_outlives_its_run(in_open_python, user, mode, processes):
    if mode == "namespaces" and not modes.namespaces().holds:
        pytest.skip(f"no namespaces here: {modes.namespaces().found}")
    if mode == "landlock" and not landlock_abi():
        pytest.skip("no Landlock in this kernel")
    found = in_open_python("tests.support.hostile.run", user, mode=mode, processes=processes)
    assert_held(found)


def test_the_corpus_is_as_large_as_documented():
    assert len({**ESCAPES, **EXHAUSTION, **CHEATING}) == len(ESCAPES) + len(EXHAUSTION) + len(CHEATING) >= 200


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
