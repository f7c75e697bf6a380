"""Temporary directories: removed at the end, or by the next of their kind where a kill left one."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.runtime.scratch import make_scratch, own_temporary_files, scratch_directory

HOLD = """
import sys, time
from components.runtime.scratch import scratch_directory
with scratch_directory("kind-a-") as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_it_is_removed_at_the_end(temporary: Path) -> None:
    with scratch_directory("kind-a-") as folder:
        assert folder.parent == temporary
        (folder / "below").mkdir()
    assert not list(temporary.iterdir())


def test_what_a_kill_left_is_removed_by_the_next_of_its_kind_and_what_is_in_use_stays(temporary: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        held = Path(process.stdout.readline().strip())
        with scratch_directory("kind-a-") as other:
            assert (held / "file").exists()
            assert other != held
        process.send_signal(signal.SIGKILL)
    with scratch_directory("kind-b-"):
        assert held.exists()
    with scratch_directory("kind-a-"):
        assert not held.exists()
    assert not list(temporary.iterdir())


OWN = """
import os, tempfile, time
from components.runtime.scratch import own_temporary_files
with own_temporary_files("kind-a-"):
    tempfile.mkstemp(prefix="library-")
    print(os.environ["TMPDIR"], flush=True)
    time.sleep(60)
"""


def test_temporary_files_of_libraries_are_removed_with_the_process_or_after_it(temporary: Path) -> None:
    with own_temporary_files("kind-a-"):
        _, name = tempfile.mkstemp()
        assert Path(name).parent.parent == temporary
    assert not list(temporary.iterdir())
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(temporary)
    with subprocess.Popen([sys.executable, "-c", OWN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        held = Path(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
    assert [path.name[:8] for path in held.iterdir()] == ["library-"]
    with own_temporary_files("kind-a-"):
        assert not held.exists()


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOLCK, "No locks available; set TMPDIR to a directory on a local disk"),
        (errno.EMFILE, r"Too many open files; raise the limit on open files \(ulimit -n\)"),
    ],
)
def test_without_locks_there_is_one_line_and_no_directory(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, number: int, fix: str
) -> None:
    tries = iter([None])

    def refuse(*_: object) -> None:
        next(tries)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(InputError, match=f"^cannot lock a directory in {temporary}: {fix}$"):
        make_scratch("kind-a-")
    assert not list(temporary.iterdir())


def test_on_a_file_system_without_permissions_a_directory_keeps_those_it_has(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter([None])

    def refuse(*_: object) -> None:
        next(tries)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with scratch_directory("kind-a-") as folder:
        assert list(temporary.iterdir()) == [folder]


MANY = """
from components.runtime.scratch import scratch_directory
for _ in range(300):
    with scratch_directory("kind-a-") as folder:
        (folder / "file").touch()
"""


def test_processes_that_start_together_do_not_remove_what_others_have_just_made(temporary: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", MANY]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert not list(temporary.iterdir())
