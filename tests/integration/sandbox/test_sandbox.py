"""Starting, refusing and ending the sandbox."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from components.contract.errors import InputError
from components.contract.reward_config import SandboxSection
from components.sandbox import modes
from components.sandbox.inside.confine import landlock_abi
from components.sandbox.inside.wire import Closed
from components.sandbox.layers import Layer
from components.sandbox.paths import packages
from components.sandbox.sandbox import Limits, Sandbox, SandboxGone

LIMITS = Limits(seconds=5.0, cpu_seconds=5, memory_mib=256, processes=1, file_mib=4, output_kib=64)
MISSING = Layer("namespaces", False, "bubblewrap (bwrap) is not installed", "Debian: apt-get install bubblewrap")


def test_unsafe_changes_nothing_where_there_is_a_sandbox(mode):
    assert modes.choose_mode(SandboxSection(unsafe=True)) == mode


def test_landlock_takes_over_where_namespaces_are_forbidden(monkeypatch):
    monkeypatch.setattr(modes, "namespaces", lambda: MISSING)
    monkeypatch.setattr(modes, "landlock", lambda: Layer("landlock", True, "ABI 7"))
    assert modes.choose_mode(SandboxSection()) == "landlock"
    with pytest.raises(InputError, match="bubblewrap"):
        modes.choose_mode(SandboxSection(mode="namespaces"))
    with pytest.raises(InputError, match=r"processes must be 1 without namespaces \(got 4\)"):
        modes.choose_mode(SandboxSection(mode="landlock", processes=4))


def test_a_sandbox_that_does_not_start_gives_the_reason(monkeypatch):
    monkeypatch.setattr(Sandbox, "_command", lambda _: [sys.executable, "-c", "raise SystemExit('no such luck')"])
    with pytest.raises(SandboxGone, match="no such luck"):
        Sandbox("unsafe", LIMITS)


@pytest.mark.usefixtures("mode")
def test_a_program_that_cannot_be_confined_is_not_run(monkeypatch):
    """It is not graded as a wrong program either."""
    monkeypatch.setattr("components.sandbox.sandbox.DEVICES", ["/dev/null", "/dev/nothing"])
    refused = pytest.raises(SandboxGone, match=r"could not be confined.*No such file")
    with Sandbox("landlock", LIMITS) as sandbox, sandbox.start("calls") as program, refused:
        program.receive(time.monotonic() + 5)


@pytest.mark.parametrize("mode", ["namespaces", "landlock", "unsafe"])
def test_everything_ends_with_a_killed_grading_process(mode):
    needed = {"namespaces": modes.namespaces().holds, "landlock": landlock_abi(), "unsafe": True}
    if not needed[mode]:
        pytest.skip(f"no {mode} here")
    script = f"""
import os, sys, time
from components.sandbox.sandbox import Limits, Sandbox
sandbox = Sandbox({mode!r}, {LIMITS!r})
program = sandbox.start("calls")
program.send("", time.monotonic() + 5)
assert program.receive(time.monotonic() + 5) == ["given"]
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
    """Forks are allowed there; as subreaper the sandbox becomes the parent of what a program leaves behind."""
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
            running.send("", time.monotonic() + 5)
            assert running.receive(time.monotonic() + 5) == ["given"]
            running.send([[program, False]], time.monotonic() + 5)
            assert running.receive(time.monotonic() + 5)[0] == "ready"
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
            running.send("", deadline)
            assert running.receive(deadline) == ["given"]
            running.send([[program, False]], deadline)
            assert running.receive(deadline)[0] == "ready"
            running.send(["call", "forks", ["l"], ["d"]], deadline)
            kind, count, _ = running.receive(deadline)
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


def answer(mode, program, **limits):
    deadline = time.monotonic() + 5
    with Sandbox(mode, replace(LIMITS, **limits)) as sandbox, sandbox.start("calls") as running:
        running.send("", deadline)
        assert running.receive(deadline) == ["given"]
        running.send([[program, False]], deadline)
        assert running.receive(deadline)[0] == "ready"
        running.send(["call", "f", ["t"], ["d"]], deadline)
        return running.receive(deadline)


@pytest.mark.parametrize("mode", ["namespaces", "landlock"])
@pytest.mark.parametrize(
    ("text", "reply"),
    [
        # Of disk space no more than `file_mib`, whatever the call.
        ("import ctypes\ndef f():\n    fd = os.open('a', os.O_RDWR | os.O_CREAT)\n"
         "    return ctypes.CDLL(None).fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(1 << 30))", -1),
        ("def f():\n    fd = os.open('a', os.O_RDWR | os.O_CREAT)\n    os.posix_fallocate(fd, 0, 1 << 20)\n"
         "    return os.fstat(fd).st_size", 1 << 20),
        # Directories may be made.
        ("import tempfile\ndef f():\n    with tempfile.TemporaryDirectory() as d:\n        os.makedirs(d + '/a/b')\n"
         "        os.rename(d + '/a/b', d + '/c')\n        return os.listdir(d + '/c')", ["l"]),
        # Standard input cannot be written to.
        ("def f():\n    try:\n        return os.write(0, b'x')\n    except OSError as e: return e.errno", 9),
        # Installed packages are beyond reach.
        (f"def f():\n    found = []\n    for p in {[path for p in packages() for path in (p.source, p.inside)]}:\n"
         "        for top, _, names in os.walk(p):\n            for n in names[:5]:\n"
         "                try: found.append(len(open(top + '/' + n, 'rb').read()))\n"
         "                except OSError: pass\n    return found", ["l"]),
        ("def f():\n    found = []\n    for p in ('/usr/lib/python3', '/usr/lib/ssl', '/usr/share', '/etc', '/home'):\n"
         "        for top, _, names in os.walk(p): found += names\n    return found", ["l"]),
    ],
)  # fmt: skip
def test_what_programs_may_do_with_files(mode, text, reply):
    if not {"namespaces": modes.namespaces().holds, "landlock": landlock_abi()}[mode]:
        pytest.skip(f"no {mode} here")
    assert answer(mode, f"import os\n{text}")[:2] == ["value", reply]


def test_a_tree_that_is_too_large_ends_its_program():
    if not landlock_abi():
        pytest.skip("no Landlock here")
    text = "import os, time\ndef f():\n    for i in range(8):\n        os.makedirs(f'a/{i}')\n"
    text += "        open(f'a/{i}/x', 'wb').write(bytes(1 << 20))\n    time.sleep(2)"
    with pytest.raises(Closed):
        answer("landlock", text)


def test_a_sandbox_that_cannot_be_set_up_leaves_no_directory(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("components.sandbox.sandbox.seccomp_program", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Sandbox("landlock", LIMITS)
    assert list(tmp_path.iterdir()) == []
