"""Which sandbox programs run in here, or why none may run."""

import time
from functools import cache
from typing import Any

from components.contract.config import SandboxSection
from components.contract.errors import InputError
from components.sandbox.inside.confine import landlock_abi
from components.sandbox.inside.wire import Closed
from components.sandbox.layers import Layer, bubblewrap, own_uid, seccomp
from components.sandbox.process import Limits, Sandbox, SandboxGone, TimedOut

_PROBE = Limits(seconds=10.0, cpu_seconds=10, memory_mib=512, processes=1, file_mib=1, output_kib=64)


def layers() -> list[Layer]:
    """Every layer, in the order in which they matter."""
    return [namespaces(), landlock(), seccomp(), own_uid()]


@cache
def namespaces() -> Layer:
    if bubblewrap() is None:
        return Layer("namespaces", False, "bubblewrap (bwrap) is not installed", "Debian: apt-get install bubblewrap")
    fix = "allow user namespaces (sysctl user.max_user_namespaces, no AppArmor profile in the way)"
    return _tried("namespaces", "user, pid, net, ipc, uts, mount", fix)


@cache
def landlock() -> Layer:
    abi = landlock_abi()
    if not abi:
        fix = "use a kernel from 5.13 on, with lsm=landlock"
        return Layer("landlock", False, "not in this kernel or switched off", fix)
    return _tried("landlock", f"ABI {abi}", "see what the message names")


def _tried(mode: str, found: str, fix: str) -> Layer:
    """By running a program: nothing else tells whether every part is allowed here."""
    if not seccomp().holds:
        return Layer(mode, False, "not tried without seccomp", seccomp().fix)
    deadline = time.monotonic() + _PROBE.seconds
    try:
        with Sandbox(mode, _PROBE) as sandbox, sandbox.start("calls") as program:
            program.send([("", False)], deadline)
            if program.receive(deadline) == ["ready"]:
                return Layer(mode, True, found)
            reason = "a program did not start"
    except (SandboxGone, Closed, TimedOut) as error:
        reason = str(error) or "a program did not start"
    return Layer(mode, False, reason, fix)


def choose(settings: SandboxSection) -> str:
    """`namespaces`, `landlock`, or `unsafe` where neither holds and the configuration allows it.

    Raises:
        InputError: what the configuration asks for is not to be had here; names what is missing.
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
        raise InputError(
            f"reward.sandbox.processes is {settings.processes}, and without namespaces a program may be one process "
            "only; set it to 1"
        )
    reasons = "; ".join(f"{layer.name}: {layer.found} ({layer.fix})" for layer in missing)
    raise InputError(
        f"reward.sandbox: there is nothing here that keeps model-written programs in. {reasons}. "
        "Or run them with your own rights: --unsafe"
    )


def sandbox_options(settings: SandboxSection, time_limit: float) -> dict[str, Any]:
    """The `sandbox` option of graders that run programs, for which InputError is raised as in `choose`."""
    return {
        "mode": choose(settings),
        # A program that takes too long shall cost itself, not the grading process with its warm sandbox.
        "seconds": min(settings.seconds, 0.8 * time_limit),
        **settings.model_dump(include={"cpu_seconds", "memory_mib", "processes", "file_mib", "output_kib"}),
    }
