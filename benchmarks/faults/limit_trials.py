"""Trials in which a run has too little disk, too few inodes or too little memory, and goes on once it has enough."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.kills import Execution
from benchmarks.faults.runs import RunFiles
from benchmarks.faults.trials import Case, Trial

_DISK_MIB, _INODES = 512, 4096
_TEMPORARY = {"bytes": 64 << 20, "inodes": 100}
"""About what the temporary files of a run take."""

_LEAST_GIB, _MOST_GIB = 0.4, 4.0
_CGROUPS = Path("/sys/fs/cgroup")
_NO_ROOM, _KILLED = ("No space left on device", "no space is left"), ("SIGKILL",)
"""Reasons in the output, in the words of the system or of the project."""


def limit_cases() -> dict[str, Case]:
    """Return the cases in which something runs out, by name; they need root."""
    return {
        "disk/store-bytes": partial(_fill, "store", "bytes"),
        "disk/store-inodes": partial(_fill, "store", "inodes"),
        "disk/tmp-bytes": partial(_fill, "tmp", "bytes"),
        "disk/tmp-inodes": partial(_fill, "tmp", "inodes"),
        "memory/limit": _limit_memory,
    }


@contextmanager
def _file_system(image: Path, place: Path) -> Iterator[None]:
    """Mount a small ext4 file system in a file."""
    with image.open("wb") as file:
        file.truncate(_DISK_MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(_INODES), str(image)], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _fill(where: str, what: str, trial: Trial) -> dict[str, Any]:
    """Leave a part of what a run needs on the file system of its store or TMPDIR, and make room once it has ended."""
    alone = trial.workplace.alone("plain")
    trial.folder.mkdir()
    with _file_system(trial.folder / "disk", trial.folder / where):
        ballast = trial.folder / where / "ballast"
        ballast.mkdir()
        made = list((alone.files.folder / "store").rglob("*"))
        needed = {"bytes": sum(path.stat().st_size for path in made), "inodes": len(made)}[what]
        left = int(trial.chance.random() * (needed if where == "store" else _TEMPORARY[what]))
        (_take_bytes if what == "bytes" else _take_inodes)(ballast, left)
        files = RunFiles(trial.folder, trial.workplace.words, "plain")
        execution = Execution(files.log, files.folder / "tmp")
        (command,) = files.whole("rapid-pod")[0]
        problem = ""
        if execution.start(command).wait():
            execution.outcome.faults[f"no {what}"] += 1
            problem = _unclear(files.log, _NO_ROOM)
        shutil.rmtree(ballast)
        outcome = execution.run([[command]], [0], 1.0, trial.chance)
        outcome.problem = outcome.problem or problem
        outcome.left = [name for name in outcome.left if name != "lost+found"]
        return trial.compared(files, alone.run_content, outcome)


def _limit_memory(trial: Trial) -> dict[str, Any]:
    """Start a run with a part of the memory that it needs, and again without a limit once it has ended."""
    alone = trial.workplace.alone("plain")
    files = RunFiles(trial.folder, trial.workplace.words, "plain")
    (command,) = files.whole("rapid-pod")[0]
    execution = Execution(files.log, files.folder / "tmp")
    files.folder.joinpath("tmp").mkdir()
    problem = ""
    with _memory_group(int(trial.chance.uniform(_LEAST_GIB, _MOST_GIB) * (1 << 30))) as group:
        inside = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
        if execution.start(inside).wait() > 0:  # less than 0: the command itself was killed
            problem = _unclear(files.log, _KILLED)
        killed = _killed_for_memory(group)
    execution.outcome.faults["killed for memory"] += killed
    outcome = execution.run([[command]], [0], 1.0, trial.chance)
    outcome.problem = outcome.problem or (problem if killed else "")
    return trial.compared(files, alone.run_content, outcome)


def _unclear(log: Path, reasons: tuple[str, ...]) -> str:
    """Return what is wrong with the output of a command that failed; empty where it says one of the reasons."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if "Traceback" in text:
        return "the output holds a traceback"
    return "" if any(reason in text for reason in reasons) else f"the output does not say {reasons[0]!r}"


def _take_bytes(ballast: Path, left: int) -> None:
    """Use up a file system but for so many bytes."""
    found = os.statvfs(ballast)
    with (ballast / "bytes").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_frsize - left))


def _take_inodes(ballast: Path, left: int) -> None:
    """Use up the inodes of a file system but for so many."""
    for number in range(os.statvfs(ballast).f_ffree - left):
        (ballast / str(number)).touch()


@contextmanager
def _memory_group(limit: int) -> Iterator[Path]:
    """Make a control group, of version 1 or 2, that may use so many bytes of memory."""
    is_second = (_CGROUPS / "cgroup.controllers").exists()
    group = _CGROUPS / ("" if is_second else "memory") / f"rapid-faults-{os.getpid()}"
    group.mkdir()
    (group / ("memory.max" if is_second else "memory.limit_in_bytes")).write_text(str(limit))
    try:
        yield group
    finally:
        while (group / "cgroup.procs").read_text():  # what dies with the command
            time.sleep(0.1)
        group.rmdir()


def _killed_for_memory(group: Path) -> int:
    """Return how many processes the kernel has killed because a group had no memory left."""
    counts = next(file for name in ("memory.events", "memory.oom_control") if (file := group / name).exists())
    return int(dict(line.split() for line in counts.read_text().splitlines())["oom_kill"])
