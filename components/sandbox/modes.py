"""Choice of the sandbox's mode on this machine, or the reason why there is none."""

import shutil
import time
from functools import cache
from typing import Any

from components.contract.errors import InputError
from components.contract.reward_config import SandboxSection
from components.sandbox.inside.confine import landlock_abi
from components.sandbox.inside.wire import Closed
from components.sandbox.layers import Layer, own_uid, seccomp
from components.sandbox.sandbox import Limits, Sandbox, SandboxGone, TimedOut

_PROBE = Limits(seconds=10.0, cpu_seconds=10, memory_mib=512, processes=1, file_mib=1, output_kib=64)


def layers() -> list[Layer]:
    """Return every layer, the most important first."""
    return [namespaces(), landlock(), seccomp(), own_uid()]


@cache
def namespaces() -> Layer:
    if not shutil.which("bwrap"):
        return Layer("namespaces", False, "bubblewrap (bwrap) is not installed", "Debian: apt-get install bubblewrap")
    fix = "allow user namespaces (sysctl user.max_user_namespaces, no AppArmor profile in the way)"
    return _try("namespaces", "user, pid, net, ipc, uts, mount", fix)


@cache
def landlock() -> Layer:
    abi = landlock_abi()
    if not abi:
        fix = "use a kernel from 5.13 on, with lsm=landlock"
        return Layer("landlock", False, "not in this kernel or switched off", fix)
    return _try("landlock", f"ABI {abi}", "see the message")


def _try(mode: str, found: str, fix: str) -> Layer:
    """Run a program in this mode; only that shows whether every part is allowed here."""
    if not seccomp().holds:
        return Layer(mode, False, "not tried without seccomp", seccomp().fix)
    deadline = time.monotonic() + _PROBE.seconds
    try:
        with Sandbox(mode, _PROBE) as sandbox, sandbox.start("calls") as program:
            program.send("", deadline)
            if program.receive(deadline) == ["given"]:
                return Layer(mode, True, found)
            reason = "a program did not start"
    except (SandboxGone, Closed, TimedOut) as error:
        reason = str(error) or "a program did not start"
    return Layer(mode, False, reason, fix)


def choose_mode(settings: SandboxSection) -> str:
    """Return `namespaces` or `landlock`, or `unsafe` where neither holds and the configuration allows it.

    Raises:
        InputError: this machine lacks what the configuration asks for; the message names it.
    """
    wanted = ("namespaces", "landlock") if settings.mode == "auto" else (settings.mode,)
    missing: list[Layer] = []
    for mode in wanted:
        needed = [namespaces(), seccomp()] if mode == "namespaces" else [landlock(), seccomp()]
        lacking = [layer for layer in needed if not layer.holds]
        if not lacking and not (mode == "landlock" and settings.processes > 1):
            return mode
        missing += [layer for layer in lacking if layer not in missing]
    if settings.unsafe:
        return "unsafe"
    if not missing:
        raise InputError(f"reward.sandbox.processes must be 1 without namespaces (got {settings.processes})")
    reasons = "; ".join(f"{layer.name}: {layer.found} ({layer.fix})" for layer in missing)
    raise InputError(
        f"reward.sandbox: this machine has no sandbox for model-written programs. {reasons}. "
        "To run them without one, with your own rights, use --unsafe"
    )


def sandbox_options(settings: SandboxSection, time_limit: float) -> dict[str, Any]:
    """Return the mode, and the `Limits` by name, for graders that run programs. Raises as `choose_mode` does."""
    return {
        "mode": choose_mode(settings),
        # A slow program must end before `time_limit` kills the grading process with its warm sandbox.
        "seconds": min(settings.seconds, 0.8 * time_limit),
        **settings.model_dump(include={"cpu_seconds", "memory_mib", "processes", "file_mib", "output_kib"}),
    }
