"""The grader `code` where processes of its sandbox are killed, from outside or by the program."""

import time

import psutil
import pytest

from components.contract.reward_config import SandboxSection
from components.reward.graders.code import _close, code
from components.sandbox import modes
from components.sandbox.inside.confine import landlock_abi
from components.sandbox.modes import sandbox_options
from components.sandbox.sandbox import Program, Sandbox, SandboxGone

MODES = ["namespaces"] * modes.namespaces().holds + ["landlock"] * bool(landlock_abi())
ADD = "def add(a, b):\n    return a + b"
ADDED = {"test_list": ["assert add(2, 3) == 5"]}
ECHO = {"input_output": {"inputs": ["5"], "outputs": ["5"]}}
SLOW_ECHO = "import time\ntime.sleep(0.3)\nprint(input())"
WORK = {"asserts": (ADD, ADDED), "calls": (ADD, ADDED), "script": (SLOW_ECHO, ECHO)}


@pytest.fixture(params=MODES)
def score(request):
    """Grade a program in a sandbox that no other test has used."""
    _close()

    def graded(program, metadata, **limits):
        sandbox = {**sandbox_options(SandboxSection(seconds=30, **limits), 60.0), "mode": request.param}
        return code(completion=program, answer=None, metadata=metadata, sandbox=sandbox)

    return graded


@pytest.fixture
def kill(monkeypatch):
    """`kill(kind, times)`: SIGKILL for the first processes of a kind at work; returns the sandboxes of all of them."""

    def prepare(kind, times):
        pids, sandboxes = {}, []
        start, send = Sandbox.start, Program.send

        def starting(self, what, *fds):
            before = psutil.Process(self._process.pid).children(recursive=True)
            program = start(self, what, *fds)
            program._confirm(time.monotonic() + 5)
            if what == kind:
                (pids[program],) = {*psutil.Process(self._process.pid).children(recursive=True)} - {*before}
                sandboxes.append(self)
            return program

        def sending(self, message, deadline):
            send(self, message, deadline)
            if self in pids and len(sandboxes) <= times:
                pids.pop(self).kill()

        monkeypatch.setattr(Sandbox, "start", starting)
        monkeypatch.setattr(Program, "send", sending)
        return sandboxes

    return prepare


@pytest.mark.parametrize("kind", WORK)
def test_what_is_killed_from_outside_runs_again_in_a_fresh_sandbox(score, kill, kind):
    sandboxes = kill(kind, 1)
    assert score(*WORK[kind]) == 1.0
    assert len(set(sandboxes)) == len(sandboxes) == 2


@pytest.mark.parametrize("kind", ["calls", "script"])
def test_a_program_that_is_killed_twice_has_failed(score, kill, kind):
    kill(kind, 2)
    result = score(*WORK[kind])
    assert (result, result.detail) == (0.0, "X; test 1: the program ended before its tests did (SIGKILL)")


def test_tests_that_are_killed_twice_grade_nothing(score, kill):
    kill("asserts", 2)
    with pytest.raises(SandboxGone, match="its process for tests was killed"):
        score(*WORK["asserts"])


@pytest.mark.parametrize(
    ("end", "ending"),
    [("os._exit(3)", "exit status 3"), ("while True: pass", "SIGKILL")],
)
def test_a_program_gains_nothing_by_its_own_end(score, kill, end, ending):
    sandboxes = kill("calls", 0)
    result = score(f"import os\ndef add(a, b):\n    {end}", ADDED, cpu_seconds=1)
    assert (result, result.detail) == (0.0, f"X; test 1: the program ended before its tests did ({ending})")
    assert len(sandboxes) == 1


@pytest.mark.parametrize("score", ["unsafe"], indirect=True)
def test_a_program_that_kills_itself_has_failed(score, kill):
    """Programs cannot send signals in the other modes."""
    sandboxes = kill("calls", 0)
    result = score("import os\ndef add(a, b): os.kill(os.getpid(), 9)", ADDED)
    assert (result, result.detail) == (0.0, "X; test 1: the program ended before its tests did (SIGKILL)")
    assert len(sandboxes) == 2


def test_a_program_gains_nothing_by_a_value_that_ends_its_tests(score, kill):
    """It takes the processor time that the process of the tests has."""
    sandboxes = kill("asserts", 0)
    result = score("def f(): return 10 ** 10", {"test_list": ["assert sum(range(f())) == 1"]}, cpu_seconds=1)
    assert (result, result.detail) == (0.0, "X; test 1: its tests ended early (SIGKILL)")
    assert len(sandboxes) == 1


@pytest.mark.skipif("landlock" not in MODES, reason="no Landlock here")
@pytest.mark.parametrize("score", ["landlock"], indirect=True)
def test_a_program_over_a_limit_that_the_sandbox_watches_runs_once(score, kill):
    sandboxes = kill("calls", 0)
    program = "import time\ndef f():\n    for i in '1234': open(i, 'wb').write(bytes(1 << 20))\n    time.sleep(2)"
    result = score(program, {"test_list": ["assert f() == 1"]}, file_mib=2)
    assert (result, result.detail) == (0.0, "X; test 1: the program ended before its tests did (SIGKILL)")
    assert len(sandboxes) == 1
