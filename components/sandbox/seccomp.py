"""The seccomp filter: a list of the system calls that Python needs; every other one fails with EPERM.

Not on the list, among others: sockets that could reach anything, signals to other processes, ptrace and reading other
processes' memory, new namespaces and mounts, changes of owner or mode, links, keyrings, io_uring, bpf, perf,
userfaultfd, memfd (memory that no limit counts), System V and POSIX message queues and shared memory.
"""

import errno
import fcntl
import socket
import tempfile
from pathlib import Path

_FILES = (
    "read write readv writev pread64 pwrite64 preadv pwritev lseek open openat close close_range dup dup2 dup3 "
    "stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 getdents getdents64 getcwd chdir "
    "fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 ftruncate flock fsync fdatasync "
    "fadvise64 umask pipe pipe2"
)
_MEMORY = "mmap munmap mremap mprotect madvise brk"
_WAITING = (
    "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 nanosleep pause "
    "alarm setitimer getitimer shutdown"
)
_THREADS = "futex set_robust_list rseq set_tid_address arch_prctl sched_yield getcpu"
_SIGNALS = "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack"
_FACTS = (
    "gettimeofday time times getpid gettid getppid getuid geteuid getgid getegid getresuid "
    "getresgid getgroups getpgrp getrlimit setrlimit getrusage sysinfo uname getrandom"
)
_ENDING = "exit exit_group restart_syscall"
_CHILDREN = "vfork execve execveat wait4 waitid kill tgkill setsid setpgid getpgid getsid"

_LAST_CLOCK = 11
_CLONE_THREAD = 0x00010000
_NEW_NAMESPACES = 0x7E020000
_TIOCS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # isatty, window size, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
# Not F_SETOWN and F_SETSIG: with them a readable pipe sends any signal to any process of the same user.
_FCNTLS = (
    fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_GETLK,
    fcntl.F_SETLK, fcntl.F_SETLKW,
)  # fmt: skip
_PR_SET_NAME, _PR_GET_NAME = 15, 16


def seccomp_version() -> str | None:
    """Return a description of libseccomp; None where the kernel or this machine has no seccomp filters."""
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError):
        return None
    if not Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        return None
    return f"filters, libseccomp API {pyseccomp.get_api()}"


def seccomp_program(processes: int) -> bytes:
    """Return the filter as BPF; with `processes` above 1 a program may start others."""
    import pyseccomp as seccomp
    from pyseccomp import ALLOW, EQ, ERRNO, LE, MASKED_EQ, Arg

    rules = seccomp.SyscallFilter(ERRNO(errno.EPERM))
    plain = [_FILES, _MEMORY, _WAITING, _THREADS, _SIGNALS, _FACTS, _ENDING, *([_CHILDREN] if processes > 1 else [])]
    for name in " ".join(plain).split():
        rules.add_rule(ALLOW, name)
    choices = {("ioctl", 1): _TIOCS, ("fcntl", 1): _FCNTLS, ("prctl", 0): (_PR_SET_NAME, _PR_GET_NAME)}
    for (name, argument), values in choices.items():
        for value in values:
            rules.add_rule(ALLOW, name, Arg(argument, EQ, value))
    # For the process itself only: these reach other processes by pid, as clock numbers beyond the last do.
    for name in ("prlimit64", "sched_getaffinity"):
        rules.add_rule(ALLOW, name, Arg(0, EQ, 0))
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep"):
        rules.add_rule(ALLOW, name, Arg(0, LE, _LAST_CLOCK))
    # With other modes it takes disk space that RLIMIT_FSIZE does not bound.
    rules.add_rule(ALLOW, "fallocate", Arg(1, EQ, 0))
    # asyncio wakes itself through a connected pair, which cannot reach anything else.
    stream = socket.SOCK_STREAM
    for kind in (stream | a | b for a in (0, socket.SOCK_NONBLOCK) for b in (0, socket.SOCK_CLOEXEC)):
        rules.add_rule(ALLOW, "socketpair", Arg(0, EQ, socket.AF_UNIX), Arg(1, EQ, kind), Arg(2, EQ, 0))
    rules.add_rule(ALLOW, "sendto", Arg(4, EQ, 0))
    rules.add_rule(ALLOW, "recvfrom", Arg(4, EQ, 0))
    if processes > 1:
        rules.add_rule(ALLOW, "fork")
        rules.add_rule(ALLOW, "clone", Arg(0, MASKED_EQ, _NEW_NAMESPACES, 0))
    else:
        rules.add_rule(ALLOW, "clone", Arg(0, MASKED_EQ, _NEW_NAMESPACES | _CLONE_THREAD, _CLONE_THREAD))
    # Its flags are in memory, which a filter cannot read; with ENOSYS libc falls back to clone.
    rules.add_rule(ERRNO(errno.ENOSYS), "clone3")
    # "Not a link", so that paths resolve; links in /proc reveal other processes.
    for name in ("readlink", "readlinkat"):
        rules.add_rule(ERRNO(errno.EINVAL), name)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
