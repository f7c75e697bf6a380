"""Starting, refusing and ending the sandbox."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from components.contract.config import GraderSpec, SandboxSection
from components.contract.errors import InputError
from components.contract.layout import Round
from components.reward.registry import resolve_graders
from components.reward.stage import run_stage as grade_shard
from components.sandbox import modes
from components.sandbox.inside.confine import landlock_abi
from components.sandbox.layers import Layer
from components.sandbox.process import Limits, Sandbox, SandboxGone

SHARD = (Round.iteration(1), 0)
LIMITS = Limits(seconds=5.0, cpu_seconds=5, memory_mib=256, processes=1, file_mib=4, output_kib=64)
MISSING = Layer("namespaces", False, "bubblewrap (bwrap) is not installed", "Debian: apt-get install bubblewrap")
NO_LANDLOCK = Layer("landlock", False, "not in this kernel or switched off", "use a kernel from 5.13")
ADDED = "assert add(2, 3) == 5\nassert add(1, 1) == 2"
FENCED = "```python\ndef add(a, b):\n    return a {} b\n```"


@pytest.fixture
def nothing_here(monkeypatch):
    monkeypatch.setattr(modes, "namespaces", lambda: MISSING)
    monkeypatch.setattr(modes, "landlock", lambda: NO_LANDLOCK)


@pytest.fixture
def mode():
    try:
        return modes.choose(SandboxSection())
    except InputError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.mark.usefixtures("nothing_here")
def test_what_is_missing_is_named_with_how_to_mend_it():
    with pytest.raises(InputError) as refusal:
        resolve_graders([GraderSpec(name="code")])
    for words in ("bubblewrap (bwrap) is not installed", "apt-get install bubblewrap", "kernel from 5.13", "--unsafe"):
        assert words in str(refusal.value)


@pytest.mark.usefixtures("nothing_here")
def test_graders_that_run_nothing_need_no_sandbox():
    assert resolve_graders([GraderSpec(name="exact")])[0].options == {}


@pytest.mark.usefixtures("nothing_here")
def test_unsafe_has_to_be_said():
    (grader,) = resolve_graders([GraderSpec(name="code")], SandboxSection(unsafe=True))
    assert grader.options["sandbox"]["mode"] == "unsafe"


def test_unsafe_changes_nothing_where_there_is_a_sandbox(mode):
    assert modes.choose(SandboxSection(unsafe=True)) == mode


def test_landlock_takes_over_where_namespaces_are_forbidden(monkeypatch):
    monkeypatch.setattr(modes, "namespaces", lambda: MISSING)
    monkeypatch.setattr(modes, "landlock", lambda: Layer("landlock", True, "ABI 7"))
    assert modes.choose(SandboxSection()) == "landlock"
    with pytest.raises(InputError, match="bubblewrap"):
        modes.choose(SandboxSection(mode="namespaces"))
    with pytest.raises(InputError, match="processes is 4"):
        modes.choose(SandboxSection(mode="landlock", processes=4))


@pytest.mark.usefixtures("mode")
def test_the_program_has_less_time_than_its_grading_process():
    (grader,) = resolve_graders([GraderSpec(name="code")], SandboxSection(seconds=100), time_limit=5.0)
    assert grader.options["sandbox"]["seconds"] == 4.0


def test_a_sandbox_that_does_not_start_says_why(monkeypatch):
    monkeypatch.setattr(Sandbox, "_command", lambda _: [sys.executable, "-c", "raise SystemExit('no such luck')"])
    with pytest.raises(SandboxGone, match="no such luck"):
        Sandbox("unsafe", LIMITS)


@pytest.mark.usefixtures("mode")
def test_a_program_that_cannot_be_confined_is_not_run(monkeypatch):
    """Nor does it count as one that is wrong."""
    monkeypatch.setattr("components.sandbox.process.DEVICES", ["/dev/null", "/dev/nothing"])
    refused = pytest.raises(SandboxGone, match=r"could not be confined.*No such file")
    with Sandbox("landlock", LIMITS) as sandbox, sandbox.start("calls") as program, refused:
        program.receive(time.monotonic() + 5)


def test_a_sandbox_that_was_killed_is_started_again():
    """Whatever ends it from outside costs no completion more than itself."""
    from components.reward.graders import code as module

    options = modes.sandbox_options(SandboxSection(), 10.0)
    grade = lambda: module.code(  # noqa: E731
        prompt="", completion=FENCED.format("+"), answer=ADDED, metadata={}, sandbox=options
    )
    module._close()
    assert grade() == 1.0
    (sandbox,) = module._open
    for process in psutil.Process(sandbox._process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    sandbox._process.kill()
    assert grade() == 1.0
    module._close()


@pytest.mark.parametrize("mode", ["namespaces", "landlock", "unsafe"])
def test_everything_ends_with_a_killed_grading_process(mode):
    needed = {"namespaces": modes.namespaces().holds, "landlock": landlock_abi(), "unsafe": True}
    if not needed[mode]:
        pytest.skip(f"no {mode} here")
    script = f"""
import os, sys, time
from components.sandbox.process import Limits, Sandbox
sandbox = Sandbox({mode!r}, {LIMITS!r})
program = sandbox.start("calls")
program.send([["import time\\ntime.sleep(1000)", False]], time.monotonic() + 5)
print(sandbox._scratch or "", flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        scratch = holder.stdout.readline().strip()
        time.sleep(0.3)
        below = psutil.Process(holder.pid).children(recursive=True)
        assert len(below) >= 2
        holder.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
    assert not scratch or not Path(scratch).exists()


def test_children_that_leave_their_parents_are_found_without_namespaces():
    """Nothing forbids forks there; as subreaper the sandbox becomes the parent of what a program leaves behind."""
    program = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
"""
    with Sandbox("unsafe", LIMITS) as sandbox:
        with sandbox.start("calls") as running:
            running.send([[program, False]], time.monotonic() + 5)
            assert running.receive(time.monotonic() + 5) == ["ready"]
            time.sleep(0.2)
            assert psutil.Process(sandbox._process.pid).children(recursive=True)
        assert psutil.Process(sandbox._process.pid).children(recursive=True) == []


@pytest.mark.parametrize(("processes", "fewest", "most"), [(1, 0, 0), (8, 4, 12)])
def test_processes_are_counted_and_gone_with_their_program(processes, fewest, most):
    if not modes.namespaces().holds:
        pytest.skip("no namespaces here")
    program = """
import os, time
def forks():
    for number in range(60):
        try:
            if os.fork() == 0:
                time.sleep(1000)
        except OSError:
            return number
"""
    deadline = time.monotonic() + 10
    with Sandbox("namespaces", replace(LIMITS, processes=processes)) as sandbox:
        idle = len(psutil.Process(sandbox._process.pid).children(recursive=True))
        with sandbox.start("calls") as running:
            running.send([[program, False]], deadline)
            assert running.receive(deadline) == ["ready"]
            running.send(["call", "forks", ["l"], ["d"]], deadline)
            kind, count = running.receive(deadline)
            assert kind == "value"
            assert fewest <= count <= most
        assert len(psutil.Process(sandbox._process.pid).children(recursive=True)) == idle


def test_no_file_descriptor_is_left_open(mode):
    with Sandbox(mode, LIMITS) as sandbox:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(20):
            with sandbox.start("calls"):
                pass
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_stage_grades_programs_and_names_the_sandbox(mode, sampled_run, commit_prompts):
    run = sampled_run([[FENCED.format(sign) for sign in "+-+*"]], "reward=code")
    run.store.delete(f"{run.layout.prompts}/manifest.json")
    commit_prompts(run, [("Add.", ADDED)])
    manifest = grade_shard(run.uri, *SHARD)
    assert (manifest.facts["reward_train"], manifest.facts["ok"], manifest.facts["sandbox"]) == (0.5, 4, mode)


@pytest.mark.usefixtures("nothing_here")
def test_the_stage_refuses_before_it_grades(sampled_run):
    run = sampled_run([["x"] * 4], "reward=code")
    with pytest.raises(InputError, match="keeps model-written programs in"):
        grade_shard(run.uri, *SHARD)


@pytest.mark.usefixtures("nothing_here")
def test_the_manifest_says_that_it_was_unsafe(sampled_run, commit_prompts):
    run = sampled_run([[FENCED.format(sign) for sign in "+-+*"]], "reward=code", "reward.workers=1")
    run.store.delete(f"{run.layout.prompts}/manifest.json")
    commit_prompts(run, [("Add.", ADDED)])
    manifest = grade_shard(run.uri, *SHARD, unsafe=True)
    assert (manifest.facts["reward_train"], manifest.facts["sandbox"]) == (0.5, "unsafe")
